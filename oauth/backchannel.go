package oauth

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/outbound"
)

// Limits of the delivery of logouts.
const (
	// logoutLease is how long an attempt may take before another replica makes
	// the next: several times outbound.DefaultTimeout.
	logoutLease = 30 * time.Second
	// logoutBatch bounds how many are delivered at once. A client that hangs
	// delays those that come after it by the asker's timeout.
	logoutBatch = 16
	// maxLogoutAnswer bounds what is read of a client's answer, in bytes; only
	// its status counts.
	maxLogoutAnswer = 64 << 10
)

// logoutRetries is how long after each attempt that failed the next is made.
// After the last there is none.
var logoutRetries = []time.Duration{time.Second, 5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, time.Hour}

// LogoutResult is how one attempt to deliver a logout ended; a metric's label.
type LogoutResult string

// The results.
const (
	LogoutTold    LogoutResult = "delivered"
	LogoutRetried LogoutResult = "retried"  // it failed, and is tried again
	LogoutRefused LogoutResult = "refused"  // the client answered 400: it takes no such token
	LogoutGivenUp LogoutResult = "given_up" // it failed for the last time, or nobody is left to be told
)

// LogoutResults lists every LogoutResult.
func LogoutResults() []LogoutResult {
	return []LogoutResult{LogoutTold, LogoutRetried, LogoutRefused, LogoutGivenUp}
}

// Asker sends one request to a server that a tenant named: outbound.Client.
type Asker interface {
	Do(ctx context.Context, r outbound.Request) (outbound.Response, error)
}

// Backchannel tells clients that their users' sessions ended (OpenID Connect
// Back-Channel Logout 1.0). Every field but Observe is required.
type Backchannel struct {
	Queue   LogoutQueue
	Clients ClientSource
	Tokens  *LogoutTokens
	Asker   Asker
	Now     func() time.Time
	Log     *slog.Logger
	// Observe, where set, is told how each attempt ended.
	Observe func(LogoutResult)
}

// Deliver tells whoever must be told now, and returns when the next is due:
// zero where nothing waits. Replicas share the work. When ctx ends, what was
// begun is brought to its end and nothing else is begun.
func (b *Backchannel) Deliver(ctx context.Context) (time.Time, error) {
	for ctx.Err() == nil {
		due, err := b.Queue.DueLogouts(ctx, b.Now(), logoutBatch)
		if err != nil {
			return time.Time{}, err
		}
		if len(due) == 0 {
			break
		}
		if err := b.deliver(ctx, due); err != nil {
			return time.Time{}, err
		}
	}
	return b.Queue.NextLogout(ctx)
}

// deliver makes one attempt for each, all at once: a client that does not
// answer must not keep the others waiting.
func (b *Backchannel) deliver(ctx context.Context, due []PendingLogout) error {
	var all sync.WaitGroup
	failures := make([]error, len(due))
	for i, p := range due {
		all.Go(func() { failures[i] = b.attempt(ctx, p) })
	}
	all.Wait()
	return errors.Join(failures...)
}

// attempt tells one client, unless another replica does. Its error is the
// queue's: what becomes of the attempt itself is written there.
func (b *Backchannel) attempt(ctx context.Context, p PendingLogout) error {
	now := b.Now()
	won, err := b.Queue.ClaimLogout(ctx, p, now.Add(logoutLease))
	if err != nil || !won {
		return err
	}
	p.Attempts++
	ctx = context.WithoutCancel(ctx) // the asker bounds how long it takes
	reason, final := b.tell(ctx, p, now)
	return b.settle(ctx, p, reason, final)
}

// settle writes down how an attempt ended.
func (b *Backchannel) settle(ctx context.Context, p PendingLogout, reason string, final bool) error {
	now := b.Now()
	e := audit.Event{
		Time: now, Name: audit.LogoutDelivered, Outcome: audit.Success, Actor: audit.Actor{Type: "system"}, Org: p.Org, Session: p.Session,
		Targets: []audit.Target{{Type: "client", ID: string(p.Client)}, {Type: "session", ID: string(p.Session)}, {Type: "user", ID: string(p.User)}},
	}
	result := LogoutTold
	switch {
	case reason == "":
	case !final && p.Attempts <= len(logoutRetries):
		b.observe(LogoutRetried)
		return b.Queue.PostponeLogout(ctx, p, now.Add(logoutRetries[p.Attempts-1]))
	default:
		e.Name, e.Outcome, e.Reason = audit.LogoutFailed, audit.Failure, reason
		if result = LogoutGivenUp; reason == logoutRefused {
			result = LogoutRefused
		}
	}
	b.observe(result)
	return b.Queue.SettleLogout(ctx, p, e)
}

// Why a logout was not delivered, as the audit log says it.
const (
	logoutRefused      = "refused"       // the client answered 400
	logoutUnregistered = "unregistered"  // the client is gone, or wants to hear no more
	logoutUnreachable  = "unreachable"   // no answer came
	logoutAddress      = "address"       // its address may not be asked
	logoutBadAnswer    = "answer"        // an answer came, of another status
	logoutOurs         = "not_delivered" // the token could not be made
)

// tell sends the logout token (OpenID Connect Back-Channel Logout 1.0 §2.5).
// It returns why that did not succeed, and whether another attempt is useless.
func (b *Backchannel) tell(ctx context.Context, p PendingLogout, now time.Time) (reason string, final bool) {
	r, err := b.Clients.Lookup(ctx, p.Client)
	if errors.Is(err, fault.NotFound) || err == nil && r.Logout.BackchannelURI == "" {
		return logoutUnregistered, true
	}
	var token string
	if err == nil {
		token, err = b.Tokens.Mint(ctx, r, p, now)
	}
	if err != nil {
		b.Log.ErrorContext(ctx, "a logout token could not be made", "client", p.Client, "err", err)
		return logoutOurs, false
	}
	res, err := b.Asker.Do(ctx, outbound.Request{
		Method: "POST", URL: r.Logout.BackchannelURI, Body: []byte(url.Values{"logout_token": {token}}.Encode()), MaxBytes: maxLogoutAnswer,
		Header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"},
	})
	switch {
	case errors.Is(err, outbound.ErrRefused):
		reason = logoutAddress
	case errors.Is(err, outbound.ErrAnswer):
		reason = logoutBadAnswer
	case err != nil:
		reason = logoutUnreachable
	case res.Status == 200 || res.Status == 204: // ibid. §2.8
		return "", true
	case res.Status == 400: // ibid. §2.8: the token is no good for the client, and would not be better later
		return logoutRefused, true
	default:
		reason = logoutBadAnswer
	}
	b.Log.WarnContext(ctx, "a client was not told of a logout", "client", p.Client, "attempt", p.Attempts, "reason", reason, "status", res.Status, "err", err)
	return reason, false
}

func (b *Backchannel) observe(r LogoutResult) {
	if b.Observe != nil {
		b.Observe(r)
	}
}
