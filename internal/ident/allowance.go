package ident

import "time"

// Allowance is what a credential has left of its tightest limit. The zero
// Allowance is that of a credential without limits.
type Allowance struct {
	Limit     int64         // requests that the window allows
	Remaining int64         // of them; never less than 0. Other replicas may know of later uses
	Reset     time.Duration // until the window ends
	Policy    string        // all limits: "100;w=60, 5000;w=86400", requests and seconds
}

// Limited reports whether there is a limit at all.
func (a Allowance) Limited() bool { return a.Limit > 0 }
