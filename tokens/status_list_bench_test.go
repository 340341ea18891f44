package tokens_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/tokens"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// The figures of docs/status-lists.md: ten million living tokens, of which one
// in a hundred is revoked, each by a revocation of its own.
const (
	benchLists   = 10
	benchRevoked = 100_000
)

// full is ten lists in which 100 000 places will be revoked.
func full(t testing.TB) (*lists, []changes.Change) {
	l := newLists(t)
	l.stored = nil
	for n := range benchLists {
		l.stored = append(l.stored, fmt.Sprintf("list%04d", n))
	}
	random := rand.New(rand.NewPCG(3, 4))
	cs, taken := make([]changes.Change, 0, benchRevoked), map[string]bool{}
	for len(cs) < benchRevoked {
		c := l.revokes(l.stored[random.IntN(benchLists)], random.Uint32N(tokens.StatusListPlaces), 1)
		c.Until = l.now.Add(time.Hour + time.Duration(random.IntN(3600))*time.Second)
		if !taken[c.Key] {
			taken[c.Key], cs = true, append(cs, c)
		}
	}
	return l, cs
}

// every asks for all lists, and returns how long they are on the wire.
func (l *lists) every(t testing.TB) (size int) {
	for _, id := range l.stored {
		d, err := l.Document(context.Background(), id)
		if err != nil {
			t.Fatal(err)
		}
		size += len(d.Body)
	}
	return size
}

// heap is what lies in memory and is still needed.
func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// BenchmarkStatusListsHear is the start of a replica: it hears all revocations.
func BenchmarkStatusListsHear(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		l, cs := full(b)
		before := heap()
		b.StartTimer()
		l.Hear(cs)
		b.StopTimer()
		b.ReportMetric((heap()-before)/1e6, "MB-kept")
		runtime.KeepAlive(l)
		runtime.KeepAlive(cs)
		b.StartTimer()
	}
}

// BenchmarkStatusListsFromScratch compresses and signs all ten lists.
func BenchmarkStatusListsFromScratch(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		l, cs := full(b)
		l.Hear(cs)
		before := heap()
		b.StartTimer()
		size := l.every(b)
		b.StopTimer()
		b.ReportMetric(float64(size)/1000, "kB-wire")
		b.ReportMetric(float64(zipped(b, l))/1000, "kB-gzip")
		b.ReportMetric((heap()-before)/1e6, "MB-kept")
		runtime.KeepAlive(l)
		b.StartTimer()
	}
}

// zipped is how long all lists are for readers that accept gzip.
func zipped(t testing.TB, l *lists) int {
	var out bytes.Buffer
	for _, id := range l.stored {
		d, err := l.Document(context.Background(), id)
		if err != nil {
			t.Fatal(err)
		}
		z := gzip.NewWriter(&out)
		if _, err := z.Write(d.Body); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out.Len()
}

// BenchmarkStatusListsOneMore revokes one more token and asks for all ten lists.
func BenchmarkStatusListsOneMore(b *testing.B) {
	l, cs := full(b)
	l.Hear(cs)
	l.every(b)
	signed, n := l.signed, 0
	for b.Loop() {
		n++
		l.now = l.now.Add(time.Second)
		if n%25 == 0 { // half a ttl is over: that is measured elsewhere
			b.StopTimer()
			l.every(b)
			signed = l.signed - n
			b.StartTimer()
		}
		l.Hear([]changes.Change{l.revokes(l.stored[n%benchLists], uint32(n*7919%tokens.StatusListPlaces), 1)})
		l.every(b)
	}
	b.ReportMetric(float64(l.signed-signed)/float64(n), "lists-made")
}

// BenchmarkStatusListsRenewal signs ten lists anew that have not changed.
func BenchmarkStatusListsRenewal(b *testing.B) {
	l, cs := full(b)
	l.Hear(cs)
	l.every(b)
	for b.Loop() {
		l.now = l.now.Add(30 * time.Second)
		if l.now.Sub(accessNow) > 50*time.Minute { // before the revocations are over
			l.now = accessNow.Add(time.Second)
		}
		l.every(b)
	}
}

// BenchmarkStatusListsServed asks for a list that is ready.
func BenchmarkStatusListsServed(b *testing.B) {
	l, cs := full(b)
	l.Hear(cs)
	l.every(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Document(b.Context(), l.stored[3]); err != nil {
			b.Fatal(err)
		}
	}
}

// reader is a verifier of these lists, which are served from memory.
func (l *lists) reader() *verify.StatusLists {
	return &verify.StatusLists{
		Issuer: accessIssuer, Keys: verify.Lookup(l.key.public), Now: func() time.Time { return l.now },
		Client: &http.Client{Transport: served{l}},
	}
}

type served struct{ l *lists }

// RoundTrip answers as the server does.
func (s served) RoundTrip(r *http.Request) (*http.Response, error) {
	d, err := s.l.Document(r.Context(), r.URL.Path[len(tokens.StatusListPath)+1:])
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: http.StatusOK, Request: r, Body: io.NopCloser(bytes.NewReader(d.Body)),
		Header: http.Header{"Content-Type": {"application/" + tokens.StatusListType}},
	}, nil
}

func (l *lists) claims(list int, index uint32) verify.Claims {
	return verify.Claims{Bound: verify.Bound{Status: verify.Status{URI: tokens.StatusListURI(accessIssuer, l.stored[list]), Index: index}}}
}

// BenchmarkStatusListsRead is a verifier that reads all ten lists.
func BenchmarkStatusListsRead(b *testing.B) {
	l, cs := full(b)
	l.Hear(cs)
	l.every(b)
	for b.Loop() {
		b.StopTimer()
		before := heap()
		v := l.reader()
		b.StartTimer()
		for n := range benchLists {
			if _, err := v.Revoked(b.Context(), l.claims(n, 1)); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		b.ReportMetric((heap()-before)/1e6, "MB-kept")
		runtime.KeepAlive(v)
		b.StartTimer()
	}
}

// BenchmarkStatusListsCheck is one token, whose list is known.
func BenchmarkStatusListsCheck(b *testing.B) {
	l, cs := full(b)
	l.Hear(cs)
	v, all := l.reader(), make([]verify.Claims, 4096)
	random := rand.New(rand.NewPCG(5, 6))
	for n := range all {
		all[n] = l.claims(random.IntN(benchLists), random.Uint32N(tokens.StatusListPlaces))
		if _, err := v.Revoked(b.Context(), all[n]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if _, err := v.Revoked(b.Context(), all[n%len(all)]); err != nil {
			b.Fatal(err)
		}
		n++
	}
}

// What the issuer says of every place, a verifier says of every token: of a full
// list, with one in a hundred revoked, which is then as short as is promised.
func TestAFullListIsShortAndReadAsWritten(t *testing.T) {
	l, cs := newLists(t), []changes.Change(nil)
	random, revoked := rand.New(rand.NewPCG(7, 8)), map[uint32]bool{}
	for range tokens.StatusListPlaces / 100 {
		p := random.Uint32N(tokens.StatusListPlaces)
		revoked[p] = true
		cs = append(cs, l.revokes("list0001", p, 1))
	}
	l.Hear(cs)
	d, err := l.Document(t.Context(), "list0001")
	if err != nil || len(d.Body) > 40_000 {
		t.Errorf("%d bytes, %v", len(d.Body), err)
	}
	v, index := l.reader(), tokens.PermutationOf(statusKey, "list0001").Index
	for p := uint32(0); p < tokens.StatusListPlaces; p += 13 {
		says, err := v.Revoked(t.Context(), l.claims(0, index(p)))
		if err != nil || says != revoked[p] {
			t.Fatalf("place %d: %v, %v; want %v", p, says, err, revoked[p])
		}
	}
}
