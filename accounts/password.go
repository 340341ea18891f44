package accounts

import (
	"context"
	"crypto/subtle"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

const (
	saltSize = 16
	hashSize = 32
)

// Hasher hashes passwords with Argon2id (RFC 9106) in a bounded pool, so that a
// flood of logins takes neither all memory nor all processors. Set the fields
// before the first use. Passwords are normalised to NFC first, nothing else:
// spaces, case and NUL count.
type Hasher struct {
	Params Params // raised to FloorParams where lower
	Slots  int    // hashes computed at the same time; the number of processors where zero
	Queue  int    // how many more may wait; 8 for each slot where zero
	Random io.Reader
	Now    func() time.Time
	// Inflight, where set, is told of every hash that begins (+1) and ends (-1).
	Inflight func(delta int)
	// Waited, where set, is told how long each hash waited for its slot.
	Waited func(time.Duration)
	// Trace, where set, is told when a step of a hash begins, "password.wait" for
	// its slot or "password.hash"; what it returns is called at the end.
	Trace func(ctx context.Context, step string) func(error)
	// Refused, where set, is told of every password that found no place.
	Refused func()

	once  sync.Once
	slots chan struct{}
	limit int64
	held  atomic.Int64 // tickets
}

// Ticket is a place in the pool: whoever holds one will be served. A ticket
// serves one operation at a time. Release it.
type Ticket struct {
	h    *Hasher
	once sync.Once
}

func (h *Hasher) start() {
	h.once.Do(func() {
		if h.Slots <= 0 {
			h.Slots = runtime.GOMAXPROCS(0)
		}
		if h.Queue <= 0 {
			h.Queue = 8 * h.Slots
		}
		h.slots = make(chan struct{}, h.Slots)
		h.limit = int64(h.Slots + h.Queue)
	})
}

// Capacity is how many hashes are computed at the same time.
func (h *Hasher) Capacity() int {
	h.start()
	return h.Slots
}

// Admit gives a place in the pool without waiting, or fault.Unavailable with
// RetryAfter where every place is taken. Ask for it before anything is counted
// against the one who waits: a full pool is not their failure.
func (h *Hasher) Admit(ctx context.Context) (*Ticket, error) {
	h.start()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if h.held.Add(1) > h.limit {
		h.held.Add(-1)
		if h.Refused != nil {
			h.Refused()
		}
		return nil, fault.New(fault.Unavailable, "Too many passwords are being checked; try again.").After(time.Second)
	}
	return &Ticket{h: h}, nil
}

// Release gives the place back. It may be called twice.
func (t *Ticket) Release() { t.once.Do(func() { t.h.held.Add(-1) }) }

// Hash returns the PHC string of a password with the present parameters and a
// fresh salt.
func (t *Ticket) Hash(ctx context.Context, password string) (string, error) {
	salt, err := secret.Bytes(t.h.Random, saltSize)
	if err != nil {
		return "", err
	}
	p := phc{params: t.h.params(), salt: salt}
	if err := t.h.serve(ctx, func() { p.hash = p.derive(password, hashSize) }); err != nil {
		return "", err
	}
	return p.String(), nil
}

// Verify reports whether stored, a PHC string, is of password, and whether it
// should be replaced because the parameters have risen since. It fails where
// stored is malformed or its parameters are out of bounds (see CheckHash).
func (t *Ticket) Verify(ctx context.Context, stored, password string) (ok, stale bool, err error) {
	p, err := parsePHC(stored)
	if err != nil {
		return false, false, err
	}
	var got []byte
	if err := t.h.serve(ctx, func() { got = p.derive(password, uint32(len(p.hash))) }); err != nil {
		return false, false, err
	}
	ok = subtle.ConstantTimeCompare(got, p.hash) == 1
	return ok, ok && p.weaker(t.h.params()), nil
}

// Hash is Admit, Ticket.Hash and Release.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	t, err := h.Admit(ctx)
	if err != nil {
		return "", err
	}
	defer t.Release()
	return t.Hash(ctx, password)
}

// Verify is Admit, Ticket.Verify and Release.
func (h *Hasher) Verify(ctx context.Context, stored, password string) (ok, stale bool, err error) {
	t, err := h.Admit(ctx)
	if err != nil {
		return false, false, err
	}
	defer t.Release()
	return t.Verify(ctx, stored, password)
}

// Dummy returns a hash that costs as much to check as a real one and that no
// password matches: it was drawn, not computed.
func (h *Hasher) Dummy() (string, error) {
	b, err := secret.Bytes(h.Random, saltSize+hashSize)
	if err != nil {
		return "", err
	}
	return phc{params: h.params(), salt: b[:saltSize], hash: b[saltSize:]}.String(), nil
}

// serve runs work on a slot.
func (h *Hasher) serve(ctx context.Context, work func()) error {
	asked, served := h.Now(), h.trace(ctx, "password.wait")
	select {
	case h.slots <- struct{}{}:
		served(nil)
	case <-ctx.Done():
		served(ctx.Err())
		return ctx.Err()
	}
	defer func() { <-h.slots }()
	if h.Waited != nil {
		h.Waited(h.Now().Sub(asked))
	}
	if h.Inflight != nil {
		h.Inflight(1)
		defer h.Inflight(-1)
	}
	hashed := h.trace(ctx, "password.hash")
	work()
	hashed(nil)
	return nil
}

// trace begins a step, if anybody wants to know.
func (h *Hasher) trace(ctx context.Context, step string) func(error) {
	if h.Trace == nil {
		return func(error) {}
	}
	return h.Trace(ctx, step)
}

func (h *Hasher) params() Params { return h.Params.raised() }

// derive computes Argon2id of the password in NFC.
func (p phc) derive(password string, size uint32) []byte {
	return argon2.IDKey([]byte(norm.NFC.String(password)), p.salt, p.params.Time, p.params.Memory, p.params.Threads, size)
}
