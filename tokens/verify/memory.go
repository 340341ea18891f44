package verify

import (
	"crypto"
	"crypto/sha256"
	"hash"
	"sync"

	"github.com/go-jose/go-jose/v4"
)

// remembered is a token whose form and signature held under key.
type remembered struct {
	claims Claims
	kid    string
	key    jose.JSONWebKey
}

// memory holds tokens that were verified lately, by digest: a copy of the
// process's memory must not be a list of credentials. It keeps two
// generations; when the young one is full the old one is dropped, so that it is
// bounded and each step costs the same.
type memory struct {
	half  int // size of one generation; nothing is kept where it is not positive
	mu    sync.RWMutex
	young map[[sha256.Size]byte]*remembered
	old   map[[sha256.Size]byte]*remembered
}

// digester is a hash with a buffer to feed it from, both used again: a copy of
// each token would be a third of all that a verification allocates.
type digester struct {
	hash hash.Hash
	buf  [512]byte
	sum  [sha256.Size]byte
}

var digesters = sync.Pool{New: func() any { return &digester{hash: sha256.New()} }}

func digest(token string) [sha256.Size]byte {
	d := digesters.Get().(*digester)
	defer digesters.Put(d)
	d.hash.Reset()
	for len(token) > 0 {
		n := copy(d.buf[:], token)
		d.hash.Write(d.buf[:n])
		token = token[n:]
	}
	clear(d.buf[:]) // no piece of a token stays
	d.hash.Sum(d.sum[:0])
	return d.sum
}

func newMemory(size int) *memory {
	if size == 0 {
		size = DefaultCacheSize
	}
	return &memory{half: (size + 1) / 2, young: map[[sha256.Size]byte]*remembered{}}
}

// recall returns nil for a token that it does not hold.
func (m *memory) recall(token string) *remembered {
	if m.half <= 0 {
		return nil
	}
	d := digest(token)
	m.mu.RLock()
	r, young := m.young[d]
	if !young {
		r = m.old[d]
	}
	m.mu.RUnlock()
	if r != nil && !young { // in use, so it survives the next change of generations
		m.put(d, r)
	}
	return r
}

func (m *memory) remember(token string, r *remembered) {
	if m.half > 0 {
		m.put(digest(token), r)
	}
}

func (m *memory) put(d [sha256.Size]byte, r *remembered) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.young) >= m.half {
		m.old, m.young = m.young, make(map[[sha256.Size]byte]*remembered, m.half)
	}
	m.young[d] = r
}

// sameKey reports whether two public keys are the same key for the same algorithm.
func sameKey(a, b jose.JSONWebKey) bool {
	k, ok := a.Key.(interface{ Equal(crypto.PublicKey) bool })
	return ok && a.Algorithm == b.Algorithm && k.Equal(b.Key)
}
