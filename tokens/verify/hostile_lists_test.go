package verify_test

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// Lists that an issuer would not send, or not about this token. Each is signed,
// unless its name says otherwise, and every one is refused by the choice made.
func TestListsThatAreNotBelieved(t *testing.T) {
	l, stranger := newListSite(t), newIssuer(t)
	stranger.kid = l.kid
	header := l.header(claim{"typ", verify.StatusListType})
	lst := func(bits any, lst any) claim {
		return claim{"status_list", map[string]any{"bits": bits, "lst": lst}}
	}
	stream := func(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
	whole, err := base64.RawURLEncoding.DecodeString(packed(t, make([]byte, 1<<17)))
	if err != nil {
		t.Fatal(err)
	}
	wrongSum := append(bytes.Clone(whole[:len(whole)-1]), whole[len(whole)-1]^1)
	for name, body := range map[string]string{
		"typ of an access token":          l.sign(l.header(), l.claims()),
		"typ of the feed":                 l.sign(l.header(claim{"typ", verify.RevocationsType}), l.claims()),
		"typ absent":                      l.sign(l.header(claim{"typ", nil}), l.claims()),
		"an access token":                 l.token(),
		"signed by a stranger":            stranger.sign(header, l.claims()),
		"another key's id":                l.sign(l.header(claim{"typ", verify.StatusListType}, claim{"kid", "k2"}), l.claims()),
		"alg none":                        l.sign(l.header(claim{"typ", verify.StatusListType}, claim{"alg", "none"}), l.claims()),
		"alg HS256":                       l.sign(l.header(claim{"typ", verify.StatusListType}, claim{"alg", "HS256"}), l.claims()),
		"another issuer's":                l.list(claim{"iss", issuerURL + "/"}),
		"an empty issuer":                 l.list(claim{"iss", ""}),
		"an issuer that is no string":     l.list(claim{"iss", []string{issuerURL}}),
		"about another list":              l.list(claim{"sub", l.url + "two"}),
		"about no list":                   l.list(claim{"sub", nil}),
		"expired":                         l.list(claim{"iat", noon.Add(-time.Hour).Unix()}, claim{"exp", noon.Add(-31 * time.Second).Unix()}),
		"expires before it is issued":     l.list(claim{"exp", noon.Add(-time.Second).Unix()}),
		"exp of another type":             l.list(claim{"exp", "never"}),
		"of the future":                   l.list(claim{"iat", noon.Add(31 * time.Second).Unix()}),
		"iat absent":                      l.list(claim{"iat", nil}),
		"ttl 0":                           l.list(claim{"ttl", 0}),
		"ttl negative":                    l.list(claim{"ttl", -60}),
		"ttl of another type":             l.list(claim{"ttl", "60"}),
		"no list":                         l.list(claim{"status_list", nil}),
		"a list of lists":                 l.list(claim{"status_list", []any{}}),
		"bits absent":                     l.list(claim{"status_list", map[string]any{"lst": "eNrbuRgAAhcBXQ"}}),
		"3 bits":                          l.list(lst(3, "eNrbuRgAAhcBXQ")),
		"16 bits":                         l.list(lst(16, "eNrbuRgAAhcBXQ")),
		"bits as text":                    l.list(lst("1", "eNrbuRgAAhcBXQ")),
		"lst absent":                      l.list(claim{"status_list", map[string]any{"bits": 1}}),
		"lst of another type":             l.list(lst(1, 7)),
		"lst padded":                      l.list(lst(1, "eNrbuRgAAhcBXQ==")),
		"lst not base64url":               l.list(lst(1, "eNrbuRgAAhcBX!")),
		"not a zlib stream":               l.list(lst(1, stream([]byte("status list")))),
		"a bare DEFLATE stream":           l.list(lst(1, stream(whole[2:len(whole)-4]))),
		"a preset dictionary":             l.list(lst(1, stream([]byte{0x78, 0xbb, 0, 0, 0, 1, 3, 0, 0, 0, 0, 1}))),
		"truncated":                       l.list(lst(1, stream(whole[:len(whole)/2]))),
		"without its checksum":            l.list(lst(1, stream(whole[:len(whole)-4]))),
		"with a wrong checksum":           l.list(lst(1, stream(wrongSum))),
		"something after its end":         l.list(lst(1, stream(append(bytes.Clone(whole), whole...)))),
		"nothing in it":                   l.list(lst(1, packed(t, nil))),
		"a zip bomb":                      l.list(lst(1, bomb(t, 1024))),
		"one byte more than may be":       l.list(lst(1, packed(t, make([]byte, 1<<20+1)))),
		"status_list twice":               l.sign(header, strings.Replace(l.claims(), "{", `{"status_list":{"bits":1,"lst":"eNpjYAAAAAIAAQ"},`, 1)),
		"lst twice":                       l.sign(header, strings.Replace(l.claims(), `"lst"`, `"lst":"eNpjYAAAAAIAAQ","lst"`, 1)),
		"empty":                           "",
		"a status list without signature": l.claims(),
		"a page of HTML":                  "<html>404</html>",
	} {
		t.Run(name, func(t *testing.T) {
			fresh := &verify.StatusLists{Issuer: l.read.Issuer, Keys: l.read.Keys, Now: l.clock, Prefixes: l.read.Prefixes}
			l.serveList(body)
			token := verify.Claims{Bound: verify.Bound{Status: verify.Status{URI: l.url + "one", Index: 1}}}
			if revoked, err := fresh.Revoked(t.Context(), token); revoked || verify.Result(err) != "unavailable" {
				t.Errorf("it was believed: %v, %v", revoked, err)
			}
			fresh.FailOpen = true
			if revoked, err := fresh.Revoked(t.Context(), token); revoked || err != nil {
				t.Errorf("open: %v, %v", revoked, err)
			}
		})
	}
	l.serveList(l.list(claim{"iss", nil}, claim{"exp", nil}, claim{"ttl", nil}))
	l.wants(1, nil) // the claims that may be absent
	l.wants(0, verify.ErrRevoked)
	l.at(time.Minute + time.Second) // without exp a list is good for its ttl only
	l.serve(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	l.wants(1, verify.ErrUnavailable)
}

// bomb is a good lst of that many MiB of zeros: one block of DEFLATE, again and again.
func bomb(t *testing.T, mebibytes int) string {
	t.Helper()
	var block bytes.Buffer
	w, err := flate.NewWriter(&block, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	stream := append([]byte{0x78, 0xda}, bytes.Repeat(block.Bytes(), mebibytes)...)
	stream = append(stream, 1, 0, 0, 0xff, 0xff) // the last block, which is empty
	sum := uint32(mebibytes<<20%65521)<<16 | 1   // RFC 1950 §9, of zeros
	return b64(binary.BigEndian.AppendUint32(stream, sum))
}

// A list that is good and lies behind a bad answer is not taken either.
func TestAnswersThatAreNotTaken(t *testing.T) {
	evil := newListSite(t)
	for name, answer := range map[string]func(l *listSite, w http.ResponseWriter, r *http.Request){
		"JSON":    func(l *listSite, w http.ResponseWriter, _ *http.Request) { typed(w, "application/json", l.list()) },
		"no type": func(l *listSite, w http.ResponseWriter, _ *http.Request) { typed(w, "", l.list()) },
		"the type of a CWT": func(l *listSite, w http.ResponseWriter, _ *http.Request) {
			typed(w, "application/statuslist+cwt", l.list())
		},
		"a redirect": func(_ *listSite, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, evil.url+"one", http.StatusFound)
		},
		"a permanent one": func(_ *listSite, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, evil.url+"one", http.StatusPermanentRedirect)
		},
		"206":                 func(l *listSite, w http.ResponseWriter, _ *http.Request) { status(w, 206, l.list()) },
		"304 without a cause": func(_ *listSite, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) },
		"404":                 func(l *listSite, w http.ResponseWriter, _ *http.Request) { status(w, 404, l.list()) },
		"500":                 func(l *listSite, w http.ResponseWriter, _ *http.Request) { status(w, 500, l.list()) },
		"503":                 func(l *listSite, w http.ResponseWriter, _ *http.Request) { status(w, 503, l.list()) },
		"a huge body": func(l *listSite, w http.ResponseWriter, _ *http.Request) {
			typed(w, "application/statuslist+jwt", l.list()+strings.Repeat("a", 4<<20))
		},
		"a body that is cut off": func(l *listSite, w http.ResponseWriter, _ *http.Request) {
			body := l.list()
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			typed(w, "application/statuslist+jwt", body[:len(body)-10])
		},
		"compressed once more": func(_ *listSite, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			typed(w, "application/statuslist+jwt", "not gzip")
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newListSite(t)
			l.serve(func(w http.ResponseWriter, r *http.Request) { answer(l, w, r) })
			l.wants(1, verify.ErrUnavailable)
			l.fetches(1)
			evil.fetches(0)
		})
	}
}

func typed(w http.ResponseWriter, kind, body string) {
	w.Header()["Content-Type"] = []string{kind}
	_, _ = io.WriteString(w, body) // the reader may be gone
}

func status(w http.ResponseWriter, code int, body string) {
	w.Header().Set("Content-Type", "application/statuslist+jwt")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, body)
}

// An answer without an end is broken off by its length, in bounded memory.
func TestAnEndlessList(t *testing.T) {
	l := newListSite(t)
	sent := make(chan int, 1)
	chunk := []byte(strings.Repeat("a", 64<<10))
	l.serve(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/statuslist+jwt")
		n := 0
		for r.Context().Err() == nil {
			k, err := w.Write(chunk)
			if n += k; err != nil {
				break
			}
		}
		sent <- n
	})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	l.wants(1, verify.ErrUnavailable)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
		t.Errorf("%d bytes were allocated", used)
	}
	if n := <-sent; n > 32<<20 { // what lies in buffers of the kernel is nobody's
		t.Errorf("%d bytes were sent", n)
	}
}

// A bomb is inflated up to the bound, and no further.
func TestABombCostsItsBound(t *testing.T) {
	l := newListSite(t)
	l.serveList(l.list(claim{"status_list", map[string]any{"bits": 1, "lst": bomb(t, 1024)}}))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	l.wants(1, verify.ErrUnavailable)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 96<<20 {
		t.Errorf("%d bytes were allocated", used)
	}
}

// An issuer that takes its time is waited for by nobody longer than they like,
// and is given up by the clock.
func TestASlowIssuerOfLists(t *testing.T) {
	l := newListSite(t)
	asked, release := make(chan struct{}), make(chan struct{})
	l.serve(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	token := verify.Claims{Bound: verify.Bound{Status: verify.Status{URI: l.url + "one"}}}
	if _, err := l.read.Revoked(ctx, token); verify.Result(err) != "unavailable" {
		t.Errorf("got %v", err)
	}
	close(release)
	l.fetches(1)

	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	prefix := "http://" + silent.Addr().String() + verify.StatusListPath
	impatient := &verify.StatusLists{
		Issuer: issuerURL, Keys: l.read.Keys, Now: l.clock, Prefixes: []string{prefix}, Client: &http.Client{Timeout: 50 * time.Millisecond},
	}
	token.Bound.Status.URI = prefix + "one"
	if _, err := impatient.Revoked(t.Context(), token); verify.Result(err) != "unavailable" {
		t.Errorf("got %v", err)
	}
}

// Lists that are as full as can be are read: no bound is in their way.
func TestTheLargestListIsRead(t *testing.T) {
	l := newListSite(t)
	noise := make([]byte, 1<<20)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	l.serveList(l.list(claim{"status_list", map[string]any{"bits": 1, "lst": packed(t, noise)}}))
	for _, i := range []uint32{0, 1, 12345, 1<<23 - 1} {
		want := error(nil)
		if noise[i/8]>>(i%8)&1 == 1 {
			want = verify.ErrRevoked
		}
		l.wants(i, want)
	}
	l.wants(1<<23, verify.ErrInvalid)
	l.read = &verify.StatusLists{Issuer: issuerURL, Keys: l.read.Keys, Now: l.clock, Prefixes: l.read.Prefixes}
	l.serveList(l.list(claim{"status_list", map[string]any{"bits": 1, "lst": bomb(t, 1)}})) // what bombs are made of
	l.wants(1<<23-1, nil)
}

// Whatever an issuer signs as a list, it is read without a panic, within its
// bounds, and an entry beyond its end has no value.
func FuzzStatusList(f *testing.F) {
	l := &listSite{issuer: newIssuer(f), now: noon, url: issuerURL + verify.StatusListPath}
	f.Add([]byte(l.claims()), uint32(0))
	f.Add([]byte(l.claims(claim{"status_list", map[string]any{"bits": 8, "lst": "eNpjYAAAAAIAAQ"}})), uint32(1<<32-1))
	f.Add([]byte(l.claims(claim{"ttl", 1e308}, claim{"exp", nil})), uint32(15))
	f.Add([]byte(`{"status_list":{"lst":"eNo","bits":1},"sub":"x","iat":1,"ttl":0.5}`), uint32(3))
	f.Fuzz(func(t *testing.T, payload []byte, index uint32) {
		value, ok, err := verify.ReadStatusList(payload, index)
		if err != nil && (ok || value != 0) || !ok && value != 0 {
			t.Fatalf("%q: %d, %v, %v", payload, value, ok, err)
		}
		if _, beyond, _ := verify.ReadStatusList(payload, 1<<32-1); beyond {
			t.Fatalf("%q: a list has no so many entries", payload)
		}
	})
}

// The same, for the stream alone: what is inflated is what was deflated.
func FuzzStatusListStream(f *testing.F) {
	f.Add([]byte{0xb9, 0xa3}, uint16(3))
	f.Add([]byte{}, uint16(0))
	f.Fuzz(func(t *testing.T, data []byte, index uint16) {
		payload := object(t, []claim{{"sub", "x"}, {"iat", 1}, {"status_list", map[string]any{"bits": 8, "lst": packed(t, data)}}})
		value, ok, err := verify.ReadStatusList([]byte(payload), uint32(index))
		switch {
		case len(data) == 0 || len(data) > 1<<20:
			if err == nil {
				t.Fatal("a list without entries, or with too many, was taken")
			}
		case err != nil || ok != (int(index) < len(data)) || ok && value != data[index]:
			t.Fatalf("entry %d of %q: %d, %v, %v", index, data, value, ok, err)
		}
	})
}
