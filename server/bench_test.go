package server

import "testing"

// BenchmarkDecode is the body of a refresh, held to its type and its limits.
func BenchmarkDecode(b *testing.B) {
	body := []byte(`{"refresh_token":"thr_0123456789012345678901234567890123456789012345678901234567890123456789"}`)
	b.ReportAllocs()
	for b.Loop() {
		var r refreshRequest
		if err := decode(body, &r); err != nil || r.RefreshToken == "" {
			b.Fatal(err)
		}
	}
}
