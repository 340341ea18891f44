package apikeys

import (
	"crypto/rand"
	"hash/crc32"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tokenhouse/tokenhouse/internal/secret"
)

func minted(t testing.TB, prefix string) string {
	t.Helper()
	lookup, err := secret.Text(rand.Reader, lookupSize)
	if err != nil {
		t.Fatal(err)
	}
	p, err := mint(rand.Reader, prefix, lookup)
	if err != nil {
		t.Fatal(err)
	}
	return p.Reveal()
}

// K13 and O22
// AK-02, AK-03.
func TestKeysLookAsTheirDeploymentSays(t *testing.T) {
	for prefix, form := range map[string]string{
		"kw_live": `^kw_live_[0-9A-Za-z]{46}$`, "overwatch_ak": `^overwatch_ak_[0-9A-Za-z]{46}$`, "th_live": `^th_live_[0-9A-Za-z]{46}$`,
	} {
		s := minted(t, prefix)
		if !regexp.MustCompile(form).MatchString(s) {
			t.Errorf("%s does not match %s", s, form)
		}
		if lookup, ok := parse(s); !ok || s[len(prefix)+1:][:8] != lookup {
			t.Errorf("parse(%s) = %q, %v", s, lookup, ok)
		}
	}
}

// AK-06.
func TestTheChecksumIsCRC32InBase62(t *testing.T) {
	sum := checksum("123456789") // CRC-32's own check value is 0xcbf43926
	var n uint64
	for _, c := range sum {
		n = n*62 + uint64(strings.IndexByte(digits, c))
	}
	if n != 0xcbf43926 || uint32(n) != crc32.ChecksumIEEE([]byte("123456789")) {
		t.Errorf("checksum = %s = %#x", sum, n)
	}
}

func TestWhatIsNoKeyIsSeenWithoutADatabase(t *testing.T) {
	good := minted(t, "th_live")
	for name, s := range map[string]string{
		"nothing": "", "no prefix": good[8:], "empty prefix": "_" + good[8:], "only the prefix": "th_live_",
		"one short": good[:len(good)-1], "one long": good + "0", "blank": " " + good, "line end": good + "\n",
		"upper-case prefix": "TH_live" + good[7:], "hyphen": "th-live" + good[7:], "8 kB": strings.Repeat("a", 8192),
		"a JWT": "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "long prefix": strings.Repeat("a", 33) + good[7:],
		"another separator": "th_live-" + good[8:], "not ASCII": "th_live_" + "é" + good[10:],
	} {
		if _, ok := parse(s); ok {
			t.Errorf("%s: %q is taken for a key", name, s)
		}
	}
}

// Any single mistake in typing is caught by the checksum, and so is any
// exchange of neighbours.
// AK-07.
func TestATypingErrorIsSeenWithoutADatabase(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		good := []byte(rapid.StringMatching(`[a-z0-9_]{1,32}`).Draw(t, "prefix") + "_" + rapid.StringMatching(`[0-9A-Za-z]{40}`).Draw(t, "body"))
		sum := checksum(string(good))
		good = append(good, sum[:]...)
		if _, ok := parse(string(good)); !ok {
			t.Fatalf("%s is refused", good)
		}
		i := rapid.IntRange(0, len(good)-1).Draw(t, "at")
		was := good[i]
		good[i] = rapid.Byte().Draw(t, "byte")
		if _, ok := parse(string(good)); ok != (good[i] == was) {
			t.Errorf("%s with %q instead of %q at %d: taken %v", good, good[i], was, i, ok)
		}
		good[i] = was
		if i > 0 && good[i] != good[i-1] {
			good[i], good[i-1] = good[i-1], good[i]
			if _, ok := parse(string(good)); ok {
				t.Errorf("%s with neighbours exchanged at %d is taken", good, i)
			}
		}
	})
}

// reference reads the form with a regular expression, independently of parse.
var reference = regexp.MustCompile(`\A([a-z0-9_]{1,32})_([0-9A-Za-z]{8})([0-9A-Za-z]{32})([0-9A-Za-z]{6})\z`)

// FuzzParse: parse agrees with the regular expression and an independent
// checksum, for any text and for the same text with its checksum put right.
// AK-01, AK-06.
func FuzzParse(f *testing.F) {
	for _, prefix := range []string{"kw_live", "overwatch_ak", "a", "_"} {
		f.Add(minted(f, prefix))
	}
	f.Add("")
	f.Add("th_live_" + strings.Repeat("0", 46))
	f.Add(strings.Repeat("_", 79))
	f.Fuzz(func(t *testing.T, s string) {
		agree(t, s)
		if len(s) >= 6 {
			agree(t, s[:len(s)-6]+crcOf(s[:len(s)-6]))
		}
	})
}

func agree(t *testing.T, s string) {
	t.Helper()
	lookup, ok := parse(s)
	m := reference.FindStringSubmatch(s)
	want := m != nil && crcOf(s[:len(s)-6]) == m[4]
	if ok != want {
		t.Fatalf("parse(%q) = %v, want %v", s, ok, want)
	}
	if ok && (lookup != m[2] || m[1]+"_"+m[2]+m[3]+m[4] != s) {
		t.Errorf("parse(%q) = %q; put together again it is %q", s, lookup, m[1]+"_"+m[2]+m[3]+m[4])
	}
	if LooksLike(s) != ok {
		t.Error("LooksLike disagrees")
	}
}

// crcOf is the checksum by bitwise division, without the table of hash/crc32.
func crcOf(s string) string {
	crc := ^uint32(0)
	for _, b := range []byte(s) {
		crc ^= uint32(b)
		for range 8 {
			lsb := crc & 1
			crc >>= 1
			if lsb == 1 {
				crc ^= 0xEDB88320
			}
		}
	}
	crc = ^crc
	out := ""
	for range 6 {
		out = string(digits[crc%62]) + out
		crc /= 62
	}
	return out
}

// SEC-OAU-65, for API keys: no two credentials alike, each character as likely as any other,
// first and last characters independent.
// AK-05.
func TestSecretsAreRandom(t *testing.T) {
	const n = 100_000
	seen := make(map[string]bool, n)
	var at [secretSize][62]int
	var pair [62][62]int
	for range n {
		s := minted(t, "th_live")
		if seen[s] {
			t.Fatal("the same key twice")
		}
		seen[s] = true
		hidden := s[len(s)-checksumSize-secretSize : len(s)-checksumSize]
		for i := range hidden {
			at[i][strings.IndexByte(digits, hidden[i])]++
		}
		pair[strings.IndexByte(digits, hidden[0])][strings.IndexByte(digits, hidden[secretSize-1])]++
	}
	for i := range at { // chi-squared, 61 degrees of freedom: above 130 once in 10^6
		if x := chiSquared(at[i][:], n); x > 130 {
			t.Errorf("character %d is biased: chi-squared %.0f", i, x)
		}
	}
	var flat []int
	for i := range pair {
		flat = append(flat, pair[i][:]...)
	}
	if x := chiSquared(flat, n); x > 4300 { // 3843 degrees of freedom, deviation 88
		t.Errorf("first and last character depend on each other: chi-squared %.0f", x)
	}
}

func chiSquared(counts []int, n int) float64 {
	want := float64(n) / float64(len(counts))
	var x float64
	for _, c := range counts {
		x += (float64(c) - want) * (float64(c) - want) / want
	}
	return x
}

func TestPrefixes(t *testing.T) {
	for _, good := range []string{"th_live", "a", "0", "_", strings.Repeat("z", 32)} {
		if err := CheckPrefix(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "TH", "th-live", "th live", "th.", "é", strings.Repeat("z", 33)} {
		if CheckPrefix(bad) == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
