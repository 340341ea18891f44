package house

import (
	"context"
	"slices"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
	"github.com/tokenhouse/tokenhouse/oauth"
)

// How long the delivery of logouts waits at least, so that it never spins, and
// at most: for what a replica that died has left behind.
const (
	logoutsSoonest = 100 * time.Millisecond
	logoutsLatest  = 15 * time.Second
)

// buildLogouts makes what tells clients that sessions of theirs ended.
func (h *House) buildLogouts(context.Context) error {
	h.parts.backchannel = &oauth.Backchannel{
		Queue: h.DB.Logouts(), Clients: h.Clients, Asker: h.outbound(), Now: h.env.Now, Log: h.env.Logger,
		Tokens:  &oauth.LogoutTokens{Signer: h.Ring, Subjects: h.subjects(), Issuer: h.conf.Issuer},
		Observe: func(r oauth.LogoutResult) { h.Metrics.LogoutTold(string(r)) },
	}
	return nil
}

// logouts answers the logout endpoint.
func (h *House) logouts() *oauth.Logouts {
	return &oauth.Logouts{
		Clients: h.Clients, Sessions: h.Sessions, Keys: h.Ring, Subjects: h.subjects(), Sealer: h.parts.master,
		Issuer: h.conf.Issuer, Now: h.env.Now,
	}
}

// subjects says by which sub each client knows a user.
func (h *House) subjects() *oauth.Subjects {
	_, key := h.parts.secrets.Current(sealing.PairwiseSubject)
	return &oauth.Subjects{Key: key}
}

// sessionsEnded wakes the delivery of logouts where a commit may have queued one.
func (h *House) sessionsEnded(cs []changes.Change) {
	if !slices.ContainsFunc(cs, func(c changes.Change) bool { return c.Kind == changes.SessionRevoked }) {
		return
	}
	select {
	case h.state.ended <- struct{}{}:
	default: // it is awake already
	}
}

// TellLogouts tells the clients that are to be told of a logout now.
func (h *House) TellLogouts(ctx context.Context) error {
	_, err := h.parts.backchannel.Deliver(ctx)
	return err
}

// deliverLogouts tells clients of logouts until ctx ends: at once after a
// session ended here, when an attempt is due again, and now and then for the
// replicas that cannot.
func (h *House) deliverLogouts(ctx context.Context) {
	for {
		next, err := h.parts.backchannel.Deliver(ctx)
		if err != nil && ctx.Err() == nil {
			h.env.Logger.WarnContext(ctx, "logouts could not be delivered", "err", err)
		}
		wait := logoutsLatest
		if err == nil && !next.IsZero() {
			wait = min(max(next.Sub(h.env.Now()), logoutsSoonest), logoutsLatest)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-h.state.ended:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}
