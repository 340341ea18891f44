package coherent

import (
	"context"
	"errors"
	"testing"
)

func TestCache(t *testing.T) {
	fresh, loads := true, 0
	c := New[string, int](10, func() bool { return fresh })
	get := func() int {
		t.Helper()
		v, err := c.Get(t.Context(), "k", func(context.Context, string) (int, error) { loads++; return loads, nil })
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if first, second := get(), get(); first != 1 || second != 1 {
		t.Error("the second Get loaded again")
	}
	if c.Purge("k"); get() != 2 {
		t.Error("a purged value came back")
	}
	if c.PurgeWhere(func(k string) bool { return k == "k" }); get() != 3 {
		t.Error("a purged value came back")
	}
	if c.PurgeAll(); get() != 4 {
		t.Error("a purged value came back")
	}
	if fresh = false; get() != 5 || get() != 6 {
		t.Error("a cache that is not fresh was believed")
	}
	if fresh = true; get() != 4 {
		t.Error("what was loaded while not fresh was kept")
	}
}

// SEC-KEY-10: a purge that happens during a load wins over what was loaded.
func TestAPurgeDuringALoadWins(t *testing.T) {
	c := New[string, string](10, func() bool { return true })
	v, err := c.Get(t.Context(), "k", func(context.Context, string) (string, error) {
		c.Purge("k") // revoked after the row was read
		return "valid", nil
	})
	if v != "valid" || err != nil {
		t.Fatal(v, err)
	}
	v, _ = c.Get(t.Context(), "k", func(context.Context, string) (string, error) { return "revoked", nil })
	if v != "revoked" {
		t.Error("the cache kept what a purge had overtaken")
	}
}

func TestErrorsAreNotCached(t *testing.T) {
	c := New[string, int](10, func() bool { return true })
	if _, err := c.Get(t.Context(), "k", func(context.Context, string) (int, error) { return 0, errors.New("down") }); err == nil {
		t.Error("the error is lost")
	}
	if v, err := c.Get(t.Context(), "k", func(context.Context, string) (int, error) { return 7, nil }); v != 7 || err != nil {
		t.Error(v, err)
	}
}

// SEC-DOS-15: however many keys are asked for, the cache stays bounded.
func TestTheCacheIsBounded(t *testing.T) {
	c := New[int, int](100, func() bool { return true })
	for i := range 20_000 {
		if _, err := c.Get(t.Context(), i, func(context.Context, int) (int, error) { return i, nil }); err != nil {
			t.Fatal(err)
		}
	}
	c.entries.CleanUp()
	if n := c.Len(); n > 100 {
		t.Errorf("%d entries, at most 100", n)
	}
}
