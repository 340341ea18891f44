// Package coherent holds bounded caches that never outlive the truth: a purge
// wins over a load that began before it, and nothing is believed while the
// change feed is silent.
package coherent

import (
	"context"
	"sync"

	"github.com/maypok86/otter/v2"
)

// Cache maps keys to values loaded on demand. Set the fields' values through
// New; the zero Cache is not usable.
type Cache[K comparable, V any] struct {
	entries *otter.Cache[K, V]
	fresh   func() bool

	mu     sync.RWMutex // held to store what was loaded, and exclusively to purge
	purges uint64
}

// New returns a cache of at most size entries. While fresh reports false,
// every Get loads.
func New[K comparable, V any](size int, fresh func() bool) *Cache[K, V] {
	return &Cache[K, V]{
		entries: otter.Must(&otter.Options[K, V]{MaximumSize: size}),
		fresh:   fresh,
	}
}

// Get returns the value of k, loading it where it is not cached. Errors are
// not cached.
func (c *Cache[K, V]) Get(ctx context.Context, k K, load func(context.Context, K) (V, error)) (V, error) {
	fresh := c.fresh()
	if fresh {
		if v, ok := c.entries.GetIfPresent(k); ok {
			return v, nil
		}
	}
	before := c.purged()
	v, err := load(ctx, k)
	if err != nil || !fresh {
		return v, err
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	// A purge that happened while we loaded may have been meant for what we
	// read: do not keep it, so that the next Get reads again.
	if c.purges == before {
		c.entries.Set(k, v)
	}
	return v, nil
}

func (c *Cache[K, V]) purged() uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.purges
}

// Purge forgets k.
func (c *Cache[K, V]) Purge(k K) {
	c.purge(func() { c.entries.Invalidate(k) })
}

// PurgeWhere forgets every key that match accepts.
func (c *Cache[K, V]) PurgeWhere(match func(K) bool) {
	c.purge(func() {
		for k := range c.entries.Keys() {
			if match(k) {
				c.entries.Invalidate(k)
			}
		}
	})
}

// PurgeAll forgets everything.
func (c *Cache[K, V]) PurgeAll() { c.purge(c.entries.InvalidateAll) }

func (c *Cache[K, V]) purge(forget func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.purges++
	forget()
}

// Len is the approximate number of entries.
func (c *Cache[K, V]) Len() int { return c.entries.EstimatedSize() }
