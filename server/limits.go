package server

import (
	"net/http"
	"strconv"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// rateLimit is the tightest limit of an API key in a body.
type rateLimit struct {
	Limit     int64  `json:"limit"`
	Remaining int64  `json:"remaining"`
	Reset     int64  `json:"reset"`  // seconds
	Policy    string `json:"policy"` // all limits: requests, and the seconds of the window
}

func rateLimitOf(a ident.Allowance) *rateLimit {
	if !a.Limited() {
		return nil
	}
	return &rateLimit{Limit: a.Limit, Remaining: a.Remaining, Reset: seconds(a.Reset), Policy: a.Policy}
}

// tellLimits sets the RateLimit fields (draft-ietf-httpapi-ratelimit-headers-07)
// of a reply to a key that has limits, whatever the reply will be.
func tellLimits(h http.Header, a ident.Allowance) {
	if !a.Limited() {
		return
	}
	setAll(h,
		field{"Ratelimit-Limit", strconv.FormatInt(a.Limit, 10)}, field{"Ratelimit-Remaining", strconv.FormatInt(a.Remaining, 10)},
		field{"Ratelimit-Reset", strconv.FormatInt(seconds(a.Reset), 10)}, field{"Ratelimit-Policy", a.Policy},
	)
}

// seconds rounds up: whoever waits so long has waited long enough.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
