package verify_test

import (
	"testing"

	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

func BenchmarkVerify(b *testing.B) {
	i := newIssuer(b)
	token := i.token()
	for name, size := range map[string]int{"each": -1, "remembered": 0} {
		b.Run(name, func(b *testing.B) {
			v := i.verifier()
			v.CacheSize = size
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(b.Context(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerifyParallel(b *testing.B) {
	i := newIssuer(b)
	v := i.verifier()
	v.CacheSize = verify.DefaultCacheSize
	token := i.token()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := v.Verify(b.Context(), token); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRefuse(b *testing.B) {
	i := newIssuer(b)
	v := i.verifier()
	token := i.sign(i.header(claim{"kid", "unknown"}), i.payload())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(b.Context(), token); err == nil {
			b.Fatal("accepted")
		}
	}
}
