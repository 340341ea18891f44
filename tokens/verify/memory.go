package verify

import (
	"crypto"
	"crypto/sha256"
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
	young map[[sha256.Size]byte]remembered
	old   map[[sha256.Size]byte]remembered
}

func newMemory(size int) *memory {
	if size == 0 {
		size = DefaultCacheSize
	}
	return &memory{half: (size + 1) / 2, young: map[[sha256.Size]byte]remembered{}}
}

func (m *memory) recall(token string) (remembered, bool) {
	if m.half <= 0 {
		return remembered{}, false
	}
	d := sha256.Sum256([]byte(token))
	m.mu.RLock()
	r, ok := m.young[d]
	if ok {
		m.mu.RUnlock()
		return r, true
	}
	r, ok = m.old[d]
	m.mu.RUnlock()
	if ok { // in use, so it survives the next change of generations
		m.put(d, r)
	}
	return r, ok
}

func (m *memory) remember(token string, r remembered) {
	if m.half > 0 {
		m.put(sha256.Sum256([]byte(token)), r)
	}
}

func (m *memory) put(d [sha256.Size]byte, r remembered) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.young) >= m.half {
		m.old, m.young = m.young, make(map[[sha256.Size]byte]remembered, m.half)
	}
	m.young[d] = r
}

// sameKey reports whether two public keys are the same key for the same algorithm.
func sameKey(a, b jose.JSONWebKey) bool {
	k, ok := a.Key.(interface{ Equal(crypto.PublicKey) bool })
	return ok && a.Algorithm == b.Algorithm && k.Equal(b.Key)
}
