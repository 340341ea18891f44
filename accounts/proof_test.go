package accounts

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"strconv"
	"strings"
	"testing"
	"time"
)

// proofKeys are two keys, of which the second signs.
func proofKeys() deviceKeys {
	keys := map[uint8][]byte{1: bytes.Repeat([]byte{1}, 32), 2: bytes.Repeat([]byte{2}, 32)}
	return deviceKeys{
		current: func() (uint8, []byte) { return 2, keys[2] },
		byID:    func(id uint8) ([]byte, bool) { k, ok := keys[id]; return k, ok },
	}
}

// solve answers a challenge of work as a program does that reads the description
// and knows nothing of ours.
func solve(c Challenge) string {
	for n := 0; ; n++ {
		if p := c.Token + "." + strconv.Itoa(n); zeroBits(sumOf(p)) >= c.Bits {
			return p
		}
	}
}

func sumOf(s string) []byte { h := sha256.Sum256([]byte(s)); return h[:] }

// flip changes one bit of a token.
func flip(t *testing.T, token string, at int) string {
	t.Helper()
	b, err := cookieEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 1
	return cookieEncoding.EncodeToString(b)
}

func TestAProofAnswersItsOwnChallengeOnly(t *testing.T) {
	keys := proofKeys()
	work := Proofs{Kind: ProofOfWork, Bits: 10}
	c, err := work.challenge(10, "ada@example.com", keys, noon, rand.Reader)
	if err != nil || c.Bits != 10 || c.Kind != ProofOfWork || !c.ExpiresAt.Equal(noon.Add(ProofTTL)) || c.SiteKey != "" {
		t.Fatalf("asked for %+v, %v", c, err)
	}
	proof := solve(c)
	_, answer, _ := strings.Cut(proof, ".")
	puzzle, err := Proofs{Kind: "turnstile", SiteKey: "site"}.challenge(0, "ada@example.com", keys, noon, rand.Reader)
	if err != nil || puzzle.Bits != 0 || puzzle.SiteKey != "site" {
		t.Fatalf("asked for %+v, %v", puzzle, err)
	}
	lazy := "x" // an answer that is none
	for n := 0; zeroBits(sumOf(c.Token+"."+lazy)) >= c.Bits; n++ {
		lazy = "x" + strconv.Itoa(n)
	}
	for _, tt := range []struct {
		name, kind, identifier, text string
		after                        time.Duration
		want                         bool
	}{
		{"the proof", ProofOfWork, "ada@example.com", proof, 0, true},
		{"at its last moment", ProofOfWork, "ada@example.com", proof, ProofTTL - 1, true},
		{"too late", ProofOfWork, "ada@example.com", proof, ProofTTL, false},
		{"of another identifier", ProofOfWork, "eve@example.com", proof, 0, false},
		{"without the work", ProofOfWork, "ada@example.com", c.Token + "." + lazy, 0, false},
		{"with an endless answer", ProofOfWork, "ada@example.com", c.Token + "." + strings.Repeat("1", 33), 0, false},
		{"with less work written into it", ProofOfWork, "ada@example.com", flip(t, c.Token, 1) + "." + answer, 0, false},
		{"with another end written into it", ProofOfWork, "ada@example.com", flip(t, c.Token, 9) + "." + answer, 0, false},
		{"of a key that is gone", ProofOfWork, "ada@example.com", flip(t, c.Token, 0) + "." + answer, 0, false},
		{"with another MAC", ProofOfWork, "ada@example.com", flip(t, c.Token, proofSize-1) + "." + answer, 0, false},
		{"a puzzle's, where work is asked for", ProofOfWork, "ada@example.com", puzzle.Token + "." + answer, 0, false},
		{"a puzzle's", "turnstile", "ada@example.com", puzzle.Token + ".an.answer with dots", 0, true},
		{"a puzzle's of another identifier", "turnstile", "eve@example.com", puzzle.Token + ".an answer", 0, false},
		{"of work, where a puzzle is asked for", "turnstile", "ada@example.com", proof, 0, false},
	} {
		p, ok := parseProof(tt.text)
		if got := ok && p.answers(tt.kind, tt.identifier, keys, noon.Add(tt.after)); got != tt.want {
			t.Errorf("%s: %t, want %t", tt.name, got, tt.want)
		}
	}
	for _, text := range []string{"", ".", c.Token, c.Token + ".", "." + answer, c.Token + "=." + answer, c.Token[1:] + "." + answer, c.Token + "." + strings.Repeat("x", maxProof)} {
		if _, ok := parseProof(text); ok {
			t.Errorf("%.100q is read as a proof", text)
		}
	}
	// A device cookie or its marks are made by the same key, and are no challenges.
	if p, ok := parseProof(cookieEncoding.EncodeToString(keys.sign(make([]byte, proofText), "mark", "", "ada@example.com")) + ".1"); !ok || p.answers("turnstile", "ada@example.com", keys, time.Unix(0, 0).Add(-time.Hour)) {
		t.Error("what was signed for something else is a challenge")
	}
}

func TestWorkDoublesWithFailures(t *testing.T) {
	p, l := Proofs{Kind: ProofOfWork, Bits: 12}, DefaultThrottle().Proof
	c := Counter{CounterKey: CounterKey{Kind: ProofCounter}}
	for failures, want := range map[int]int{0: 12, 9: 12, 10: 13, 99: 21} {
		if got := p.work(wrong(c, l, noon, failures), l, noon); got != want {
			t.Errorf("after %d failures %d bits are asked for, want %d", failures, got, want)
		}
	}
	held := c
	for range 25 {
		held = held.reserve(l, noon, Lease{Until: noon.Add(time.Second), Tag: 1})
	}
	if got := p.work(held, l, noon); got != 14 {
		t.Errorf("with 25 attempts under way %d bits are asked for, want 14: they are not to be free", got)
	}
	if got := p.work(wrong(c, l, noon, 99), l, noon.Add(time.Hour)); got != 12 {
		t.Errorf("an hour later %d bits are asked for, want 12", got)
	}
	if got := (Proofs{Kind: "hcaptcha", Bits: 12}).work(c, l, noon); got != 0 {
		t.Errorf("where a puzzle is asked for, %d bits are", got)
	}
}

// What anybody sends is read without harm, in one spelling, and is good only
// where we signed it.
func FuzzParseProof(f *testing.F) {
	keys := proofKeys()
	c, err := Proofs{Kind: ProofOfWork}.challenge(8, "ada@example.com", keys, noon, rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(solve(c), "ada@example.com")
	f.Add(c.Token+".", "ada@example.com")
	f.Add(c.Token+"\n.1", "")
	f.Add(strings.Repeat("A", 78)+".0", "x")
	f.Add("....", "")
	f.Fuzz(func(t *testing.T, text, identifier string) {
		p, ok := parseProof(text)
		if !ok {
			return
		}
		if again := cookieEncoding.EncodeToString(p.challenge[:]) + "." + p.answer; again != text || p.whole != text {
			t.Errorf("%q is read as %q", text, again)
		}
		for _, kind := range []string{ProofOfWork, "turnstile"} {
			good := p.answers(kind, identifier, keys, noon)
			if signed := strings.HasPrefix(text, c.Token+".") && identifier == "ada@example.com" && kind == ProofOfWork && zeroBits(sumOf(text)) >= 8; good && !signed {
				t.Errorf("%q is taken for a proof of %q", text, identifier)
			}
		}
	})
}
