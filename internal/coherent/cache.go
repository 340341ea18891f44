// Package coherent holds bounded caches that never outlive the truth: a purge
// wins over a load that began before it, and nothing is believed while the
// change feed is silent.
package coherent

import (
	"context"
	"sync/atomic"

	"github.com/maypok86/otter/v2"
)

// Cache maps keys to values loaded on demand. Set the fields' values through
// New; the zero Cache is not usable.
type Cache[K comparable, V any] struct {
	entries *otter.Cache[K, V]
	purges  atomic.Uint64
	fresh   func() bool
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
	before := c.purges.Load()
	v, err := load(ctx, k)
	if err != nil || !fresh {
		return v, err
	}
	c.entries.Set(k, v)
	// A purge that happened while we loaded may have been meant for what we
	// read: drop it, so that the next Get reads again.
	if c.purges.Load() != before {
		c.entries.Invalidate(k)
	}
	return v, nil
}

// Purge forgets k.
func (c *Cache[K, V]) Purge(k K) {
	c.purges.Add(1)
	c.entries.Invalidate(k)
}

// PurgeWhere forgets every key that match accepts.
func (c *Cache[K, V]) PurgeWhere(match func(K) bool) {
	c.purges.Add(1)
	for k := range c.entries.Keys() {
		if match(k) {
			c.entries.Invalidate(k)
		}
	}
}

// PurgeAll forgets everything.
func (c *Cache[K, V]) PurgeAll() {
	c.purges.Add(1)
	c.entries.InvalidateAll()
}

// Len is the approximate number of entries.
func (c *Cache[K, V]) Len() int { return c.entries.EstimatedSize() }
