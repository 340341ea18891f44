package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// algorithms is every one that a deployment signs with. None takes a shared key
// (RFC 8725 §3.1, §3.2).
var algorithms = []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.EdDSA, jose.RS256, jose.PS256}

func parseStatement(jws string) (*jose.JSONWebSignature, error) {
	s, err := jose.ParseSignedCompact(jws, algorithms)
	if err != nil || len(s.Signatures) != 1 {
		return nil, errors.New("is not a signed text")
	}
	return s, nil
}

// statement is what is signed, read by itself.
type statement struct {
	hash    Hash
	payload []byte
	known   bool // it is signed by a key that is known: of an unknown key nothing is proved
	err     error
}

func statementOf(jws, typ string, keys *jose.JSONWebKeySet) statement {
	said := statement{hash: hashOf(jws)}
	s, err := parseStatement(jws)
	if err != nil {
		return statement{err: err}
	}
	h := s.Signatures[0].Protected
	if got, _ := h.ExtraHeaders[jose.HeaderType].(string); !strings.EqualFold(got, typ) {
		return statement{err: fmt.Errorf("is signed as %q, not as %q", got, typ)}
	}
	said.payload = s.UnsafePayloadWithoutVerification()
	for _, k := range keys.Key(h.KeyID) {
		if k.Algorithm != h.Algorithm {
			continue
		}
		if said.payload, err = s.Verify(k); err != nil {
			return statement{err: errors.New("is forged: its signature does not hold")}
		}
		said.known = true
		break
	}
	return said
}

// understand reads what a statement says, and checks whose it is.
func (v *Verifier) understand(said *statement, claims interface{ issuer() string }) error {
	if said.err != nil {
		return said.err
	}
	if json.Unmarshal(said.payload, claims) != nil {
		return errors.New("says nothing that is understood")
	}
	want := v.Issuer
	if want == "" {
		want = v.report.Issuer
	}
	if want != "" && claims.issuer() != want {
		return fmt.Errorf("is of %q, not of %q", claims.issuer(), want)
	}
	if said.known {
		v.report.Issuer = claims.issuer()
	}
	return nil
}

func (c checkpointClaims) issuer() string { return c.Issuer }
func (c baseClaims) issuer() string       { return c.Issuer }
func (c closingClaims) issuer() string    { return c.Issuer }

// checkpoint checks a signed statement in its place: after the link it is for.
func (v *Verifier) checkpoint(said *statement) error {
	var c checkpointClaims
	if err := v.understand(said, &c); err != nil {
		return fmt.Errorf("the checkpoint %w", err)
	}
	s := v.shards[c.Org]
	switch {
	case s == nil || c.Position != s.head.Position:
		return fmt.Errorf("the checkpoint for position %d of %s is in another place", c.Position, named(c.Org))
	case c.Hash != s.head.Hash.String():
		return fmt.Errorf("the checkpoint is for another history: what %s has up to here was changed after it was signed", named(c.Org))
	case s.signed == c.Position:
		return errors.New("the checkpoint stands there twice")
	case s.last != nil && c.Previous != s.last.String():
		return errors.New("the checkpoint does not follow the one before: that was exchanged, or one in between removed")
	}
	h := said.hash
	s.signed, s.last = c.Position, &h
	v.order.Write(h[:])
	if said.known {
		v.report.Checkpoints++
	} else {
		v.report.Unknown++
	}
	return nil
}

// baseClaims are what a base says: what was up to the position is removed, and
// of each class so many events that were removed before the last event that
// tells of it.
type baseClaims struct {
	Issuer   string          `json:"iss"`
	IssuedAt int64           `json:"iat"`
	Org      ident.OrgID     `json:"org_id"`
	Position int64           `json:"position"`
	Hash     string          `json:"hash"`
	Open     map[Class]int64 `json:"open,omitempty"` // removed up to the position, and told of after it
}

// base takes the beginning of a chain whose oldest links are removed.
func (v *Verifier) base(said *statement) error {
	var c baseClaims
	if err := v.understand(said, &c); err != nil {
		return fmt.Errorf("the base %w", err)
	}
	head := Head{Shard: c.Org, Position: c.Position}
	var ok bool
	if head.Hash, ok = parseHash(c.Hash); !ok || c.Position < 1 {
		return errors.New("the base says nothing that is understood")
	}
	s := v.shards[c.Org]
	switch {
	case !said.known:
		return errors.New("the base is signed by a key that is not among the known ones; give the JWK Set of that time too")
	case s != nil && s.head.Position >= c.Position:
		return fmt.Errorf("%s is past the position of this base already", named(c.Org))
	}
	v.order.Write(said.hash[:])
	s = &strand{head: head, first: v.report.Lines, anchored: true, signed: c.Position}
	for class, n := range c.Open {
		*s.of(class) = hole{open: n, line: v.report.Lines}
	}
	v.shards[c.Org] = s
	return nil
}
