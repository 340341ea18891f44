package apikeys_test

import "testing"

// BenchmarkVerify is a warm key: one lookup in memory and one HMAC.
func BenchmarkVerify(b *testing.B) {
	d := onSQLite(b)
	r := d.replica(b)
	r.Observe = nil
	_, key := r.make(b, d.person("user_alice", "org_a", engineer), "metrics:read", "agents:*")
	r.as(b, key)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Verify(b.Context(), key, origin); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerifyUnknown is an id that no key has, asked for before.
func BenchmarkVerifyUnknown(b *testing.B) {
	d := onSQLite(b)
	r := d.replica(b)
	r.Observe = nil
	_, key := r.make(b, d.person("user_alice", "org_a", engineer), "metrics:read")
	key = anotherLookup(key)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Verify(b.Context(), key, origin); err == nil {
			b.Fatal("it is accepted")
		}
	}
}
