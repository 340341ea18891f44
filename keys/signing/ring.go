package signing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// DefaultAlgorithm signs where none is configured (RFC 7518 §3.4): the fastest
// that every verifier has.
const DefaultAlgorithm = "ES256"

// maxRaces bounds how often Load starts over because another replica was first.
const maxRaces = 5

// Ring is every signing key of the deployment. Set the fields, Load it, and
// subscribe it to the change feed. Readers never wait: a reload makes a new
// view of the keys and swaps it in.
type Ring struct {
	Store      Store
	Keeper     sealing.Keeper
	Now        func() time.Time
	Random     io.Reader
	Algorithms []string     // each gets an active key; the first signs by default; ES256 where empty
	Logger     *slog.Logger // slog.Default where nil
	// Retain is how long a key stays published after it signed last: longer than
	// anything it signed lives. Where zero it stays for ever.
	Retain time.Duration
	// Announce is how long a key is published before it signs: longer than
	// verifiers keep the JWK Set, and clocks differ.
	Announce time.Duration
	// Lifetime is how long a key signs before Tend gives it a successor. Where
	// zero it signs until somebody rotates.
	Lifetime time.Duration
	// Changed, where set, is told after other keys began to sign: what was signed
	// beforehand and is kept to be served again must be signed anew. It must be
	// quick.
	Changed func()
	// Trace, where set, is told when a signature begins, by "token.sign"; what it
	// returns is called at the end.
	Trace func(ctx context.Context, step string) func(error)

	loading sync.Mutex // held by whoever reads the store; never by a signer
	view    atomic.Pointer[view]
	reload  reloader
	looked  atomic.Int64 // when an unknown key id last caused a reload; microseconds since 1970
}

// view is the ring at one moment. It is never changed.
type view struct {
	active   map[string]*signer         // by algorithm
	public   map[string]jose.JSONWebKey // those that may have signed
	document Document
	keys     []Key
}

// Load reads every key and creates an active one for each algorithm that has
// none; replicas that start together agree on one. A key that does not open
// under our master key is an error, and then nothing is created.
func (r *Ring) Load(ctx context.Context) error {
	r.loading.Lock()
	defer r.loading.Unlock()
	for range maxRaces {
		keys, err := r.Store.SigningKeys(ctx)
		if err != nil {
			return fmt.Errorf("read signing keys: %w", err)
		}
		v, err := viewOf(keys, r.Keeper, r.algorithms())
		if err != nil {
			return err
		}
		missing := slices.DeleteFunc(r.algorithms(), func(alg string) bool { return v.active[alg] != nil })
		if len(missing) == 0 {
			r.use(v)
			return nil
		}
		if err := r.add(ctx, keys, missing); err != nil && !errors.Is(err, fault.Conflict) {
			return err
		}
	}
	return fmt.Errorf("signing keys: other replicas kept changing them: %w", fault.Conflict)
}

// use makes v the ring's view.
func (r *Ring) use(v *view) {
	old := r.view.Swap(v)
	if r.Changed == nil || old == nil {
		return
	}
	same := func(a, b *signer) bool { return a.key.ID == b.key.ID }
	if !maps.EqualFunc(old.active, v.active, same) {
		r.Changed()
	}
}

// SignsWith lists the algorithms that have an active key, the default one first.
func (r *Ring) SignsWith() []string { return r.algorithms() }

func (r *Ring) algorithms() []string {
	if len(r.Algorithms) == 0 {
		return []string{DefaultAlgorithm}
	}
	return slices.Clone(r.Algorithms)
}

// add gives each of the algorithms, which have none, an active key: the one that
// is published, or one that signs without notice, for nothing else could.
func (r *Ring) add(ctx context.Context, keys []Key, algorithms []string) error {
	steps := make([]step, len(algorithms))
	for i, alg := range algorithms {
		_, next := standing(keys, alg)
		steps[i] = step{id: next.ID, algorithm: alg, to: Active}
	}
	made, err := r.made(steps)
	if err != nil {
		return err
	}
	now := r.Now()
	return r.Store.InTx(ctx, func(tx Tx) error {
		_, err := perform(tx, steps, shelf{keys, made, r.Retain}, now, recordedBySystem)
		return err
	})
}

// viewOf opens the keys. Two of one id, or two active ones of one algorithm,
// are refused: neither can come from this package.
//
// The document has the keys in the order of the algorithms: whoever looks for
// one that suits finds the default one first.
func viewOf(keys []Key, keeper sealing.Keeper, order []string) (*view, error) {
	v := &view{active: make(map[string]*signer), public: make(map[string]jose.JSONWebKey), keys: keys}
	var published []jose.JSONWebKey
	known := make(map[string]bool, len(keys))
	for _, k := range keys {
		if k.State == Revoked {
			continue
		}
		private, public, err := openKey(k, keeper)
		if err != nil {
			return nil, err
		}
		if known[k.ID] {
			return nil, fmt.Errorf("signing key %s is there twice", k.ID)
		}
		published = append(published, public)
		known[k.ID] = true
		if k.State == Published {
			continue // it has signed nothing yet: what claims that it did is forged or too early
		}
		v.public[k.ID] = public
		if k.State != Active {
			continue
		}
		if v.active[k.Algorithm] != nil {
			return nil, fmt.Errorf("two signing keys are active for %s", k.Algorithm)
		}
		if v.active[k.Algorithm], err = newSigner(k, private); err != nil {
			return nil, err
		}
	}
	rank := func(k jose.JSONWebKey) int { // unknown ones last
		if i := slices.Index(order, k.Algorithm); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortStableFunc(published, func(a, b jose.JSONWebKey) int { return rank(a) - rank(b) })
	var err error
	v.document, err = documentOf(published)
	return v, err
}

// Sign returns the compact serialization (RFC 7515 §7.1) of payload, signed
// with the default algorithm. Its header holds alg, kid and typ.
func (r *Ring) Sign(ctx context.Context, payload []byte, typ string) (string, error) {
	alg := DefaultAlgorithm
	if len(r.Algorithms) > 0 {
		alg = r.Algorithms[0]
	}
	return r.SignWith(ctx, alg, payload, typ)
}

// SignWith is Sign with the active key of an algorithm of the ring.
func (r *Ring) SignWith(ctx context.Context, alg string, payload []byte, typ string) (string, error) {
	v := r.view.Load()
	if v == nil || v.active[alg] == nil {
		return "", fmt.Errorf("no active signing key for %s", alg)
	}
	if r.Trace == nil {
		return v.active[alg].sign(payload, typ)
	}
	signed := r.Trace(ctx, "token.sign")
	token, err := v.active[alg].sign(payload, typ)
	signed(err)
	return token, err
}

// JWKS returns the public keys that verifiers may trust. It is empty only
// before Load.
func (r *Ring) JWKS() Document {
	if v := r.view.Load(); v != nil {
		return v.document
	}
	return Document{}
}

// PublicKey returns the public key of a kid that tokens may be signed with. One
// that is revoked, or was never active, is not found.
func (r *Ring) PublicKey(kid string) (jose.JSONWebKey, bool) {
	v := r.view.Load()
	if v == nil {
		return jose.JSONWebKey{}, false
	}
	k, ok := v.public[kid]
	return k, ok
}

// Loaded lists every key from memory, oldest first; none before Load. The
// result is shared: do not change it.
func (r *Ring) Loaded() []Key {
	if v := r.view.Load(); v != nil {
		return v.keys
	}
	return nil
}

// Keys lists every key as stored now, oldest first.
func (r *Ring) Keys(ctx context.Context) ([]Key, error) { return r.Store.SigningKeys(ctx) }
