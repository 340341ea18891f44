package tokens

import (
	"cmp"
	"crypto/sha256"
	"net/netip"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// Begin opens a family within the login's transaction and returns it with its
// first refresh token, which is zero where the family is not refreshable; of a
// browser's session, with its cookie in that place. It is fault.AccountDisabled
// where the user is not active, fault.InvalidClient where the client that a
// delegated one is for is not, and fault.InvalidToken (revoked) where the
// browser session that delegates it has ended. Recording the login is the
// caller's.
func (s *Service) Begin(tx FamilyTx, now time.Time, o Opening) (Family, secret.Plain, error) {
	now = now.Truncate(time.Microsecond) // what storage keeps, so that both agree on every limit
	policy := s.Policy.withDefaults()
	ttl := policy.Absolute
	if o.Browser {
		o.Client, o.Refreshable, ttl = BrowserClient, false, policy.BrowserAbsolute
	}
	f := Family{
		ID: cmp.Or(o.ID, ident.NewSessionID(now, s.Random)), User: o.User, Org: o.Org, Client: o.Client, Method: o.Method,
		CreatedAt: now, ExpiresAt: now.Add(cmp.Or(o.TTL, ttl)), Refreshable: o.Refreshable,
		AuthenticatedAt: authenticatedAt(o, now), Delegation: o.Delegation,
		Seen:   Seen{At: now, IP: o.Origin.IP, UserAgent: o.Origin.UserAgent},
		Holder: Holder{Network: networkOf(o.Origin.IP), Agent: textDigest(o.Origin.UserAgent), Proof: textDigest(o.Proof), Proven: o.Proof != ""},
	}
	f.Chain.Live = s.issued(f, o.Access, now)
	if err := tx.InsertFamily(f, o.Access.IssuedAt); err != nil {
		return Family{}, secret.Plain{}, err
	}
	switch {
	case o.Browser:
		t, err := write(browserPrefix, generationOf{f.ID, 0}, s.BrowserMACs)
		return f, t, err
	case !o.Refreshable:
		return f, secret.Plain{}, nil
	}
	t, err := format(generationOf{f.ID, 0}, s.MACs)
	return f, t, err
}

// issued returns what the family remembers once it has the access token.
func (s *Service) issued(f Family, a Access, now time.Time) Live {
	if a.Place == (Place{}) {
		return f.Chain.Live
	}
	return f.Chain.Live.With(LivePlace{a.Place, a.ExpiresAt.Add(s.stay())}, now)
}

// authenticatedAt is when the user of o proved who they are.
func authenticatedAt(o Opening, now time.Time) time.Time {
	if o.AuthenticatedAt.IsZero() {
		return now
	}
	return o.AuthenticatedAt.UTC().Truncate(time.Microsecond)
}

// ExpiryOf returns when the current refresh token of f expires if nobody uses
// it. f was just served.
func (s *Service) ExpiryOf(f Family) time.Time {
	idle := f.handedOut(f.Chain.Generation).Add(s.Policy.withDefaults().Idle)
	if idle.After(f.ExpiresAt) {
		return f.ExpiresAt
	}
	return idle
}

// networkOf is the part of an address that stays the same while a device does
// not move: the /24, or the /56 a household is given. "" where unknown.
func networkOf(ip netip.Addr) string {
	ip = ip.Unmap().WithZone("")
	bits := 56
	if ip.Is4() {
		bits = 24
	}
	p, err := ip.Prefix(bits)
	if err != nil || !p.IsValid() {
		return ""
	}
	return p.String()
}

// textDigest is zero for the empty text.
func textDigest(text string) (d Digest) {
	if text != "" {
		sum := sha256.Sum256([]byte(text))
		copy(d[:], sum[:])
	}
	return d
}
