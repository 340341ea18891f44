package webhooks

import (
	"hash/fnv"
	"strconv"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// GiveUpAfter is for how long nothing may be delivered before an endpoint is
// disabled. What it was not told waits in the log.
const GiveUpAfter = 5 * 24 * time.Hour

// retries is how long after each attempt that failed the next is made. After the
// last the event is a dead letter, and the next event has its turn.
var retries = []time.Duration{
	5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 12 * time.Hour, 24 * time.Hour, 24 * time.Hour,
}

// maxRetryAfter bounds how long a receiver may ask us to wait.
const maxRetryAfter = 24 * time.Hour

// Retries returns how long after each failed attempt the next is made, at least;
// up to a tenth more where endpoints would otherwise all come back together.
func Retries() []time.Duration { return append([]time.Duration(nil), retries...) }

// pause is how long to wait after so many attempts failed. It reports false after
// the last. What an endpoint adds to the schedule depends on nothing but the
// endpoint and the attempt.
func pause(id ident.WebhookID, attempts int, asked time.Duration) (time.Duration, bool) {
	if attempts > len(retries) {
		return 0, false
	}
	wait := retries[attempts-1]
	h := fnv.New32a()
	_, _ = h.Write([]byte(string(id) + strconv.Itoa(attempts))) // never fails
	wait += wait / 10 * time.Duration(h.Sum32()%1000) / 1000
	return max(wait, min(asked, maxRetryAfter)), true
}

// httpDate is the form of a time in a header (RFC 9110 §5.6.7).
const httpDate = "Mon, 02 Jan 2006 15:04:05 GMT"

// retryAfter is how long a Retry-After asks us to wait (RFC 9110 §10.2.3); 0 where
// it asks for nothing.
func retryAfter(header string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(header, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := time.Parse(httpDate, header); err == nil {
		return at.Sub(now)
	}
	return 0
}
