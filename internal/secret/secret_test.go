package secret

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// SEC-OBS-01: a credential prints itself nowhere.
func TestPlainNeverPrints(t *testing.T) {
	p := Of("canary-value")
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "token", p, "in", struct{ P Plain }{p})
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "token", p, "in", struct{ P Plain }{p})
	js, err := json.Marshal(map[string]any{"a": p, "b": &p, "c": []Plain{p}})
	if err != nil {
		t.Fatal(err)
	}
	all := log.String() + string(js) + fmt.Sprintf("%v %+v %#v %s %q %x %d", p, p, p, p, p, p, p) + fmt.Sprint(struct{ P Plain }{p}) + fmt.Errorf("%w: %v", errors.New("x"), p).Error()
	if strings.Contains(all, "canary") || strings.Contains(all, fmt.Sprintf("%x", "canary")) {
		t.Errorf("the credential leaked: %s", all)
	}
	if p.Reveal() != "canary-value" || p.IsZero() || !Of("").IsZero() {
		t.Error("the credential itself is lost")
	}
}

// SEC-OAU-65: no character, first or last, is likelier than another.
func TestTextIsUniform(t *testing.T) {
	const n, length = 100_000, 8
	var counts [length][256]int
	seen := map[string]bool{}
	for range n {
		s, err := Text(rand.Reader, length)
		if err != nil || len(s) != length {
			t.Fatal(s, err)
		}
		seen[s] = true
		for i := range length {
			counts[i][s[i]]++
		}
	}
	want := float64(n) / 62
	for i := range counts {
		var chi2 float64
		for _, c := range []byte(alphabet) {
			d := float64(counts[i][c]) - want
			chi2 += d * d / want
		}
		// 61 degrees of freedom: mean 61, deviation sqrt(122); 8 of them is beyond chance.
		if math.Abs(chi2-61) > 8*math.Sqrt(122) {
			t.Errorf("character %d: chi² = %.0f", i, chi2)
		}
	}
	if len(seen) < n-5 { // 62^8 values: about 0.00002 collisions are expected
		t.Errorf("%d of %d texts are distinct", len(seen), n)
	}
}

func TestMintFailsWithItsSource(t *testing.T) {
	if _, err := Mint(iotest.ErrReader(errors.New("dry")), "x_"); err == nil {
		t.Error("a credential was minted without randomness")
	}
	p, err := Mint(rand.Reader, "x_")
	if err != nil || len(p.Reveal()) != 45 || !strings.HasPrefix(p.Reveal(), "x_") {
		t.Errorf("minted %d characters, %v", len(p.Reveal()), err)
	}
}

func TestMACSeparatesItsParts(t *testing.T) {
	key := []byte("k")
	if Equal(MAC(key, "ab", "c"), MAC(key, "a", "bc")) || Equal(MAC(key, "a"), MAC(key, "a", "")) || Equal(MAC(key, "a"), MAC([]byte("l"), "a")) {
		t.Error("different inputs share a MAC")
	}
	if !Equal(MAC(key, "a", "b"), MAC(key, "a", "b")) || Equal(nil, []byte{0}) {
		t.Error("equality is broken")
	}
}

// AK-23: two texts are told apart no sooner where they differ at once than where
// they differ at their end. They are long, so that a comparison that stops at the
// first difference would be a thousand times faster.
func TestComparingTakesAsLongWhereverTheDifferenceIs(t *testing.T) {
	a := make([]byte, 1<<20)
	early, late := bytes.Clone(a), bytes.Clone(a)
	early[0], late[len(late)-1] = 1, 1
	fastest := func(b []byte) time.Duration {
		best := time.Hour
		for range 5 {
			began := time.Now()
			if Equal(a, b) {
				t.Fatal("they are taken for the same")
			}
			best = min(best, time.Since(began))
		}
		return best
	}
	soon, end := fastest(early), fastest(late)
	t.Logf("different at once: %s; at the end: %s", soon, end)
	if soon < end/4 {
		t.Errorf("a difference at once is told after %s, one at the end after %s", soon, end)
	}
}
