package tokens

import "time"

// Issued is the iat of a token of this moment, in whole seconds.
func (m Moment) Issued() time.Time { return time.Unix(m.issued, 0).UTC() }
