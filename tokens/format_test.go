package tokens

import (
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// keyring holds MAC keys by id; the highest is current.
type keyring map[uint8]string

func (k keyring) Current() (uint8, []byte) {
	var id uint8
	for i := range k {
		id = max(id, i)
	}
	return id, []byte(k[id])
}

func (k keyring) ByID(id uint8) ([]byte, bool) { s, ok := k[id]; return []byte(s), ok }

var oneKey = keyring{1: "0123456789abcdef0123456789abcdef"}

func mustFormat(t testing.TB, g generationOf, keys MACKeys) string {
	t.Helper()
	p, err := format(g, keys)
	if err != nil {
		t.Fatal(err)
	}
	return p.Reveal()
}

func TestATokenIsReadBackAsWhatItNames(t *testing.T) {
	form := regexp.MustCompile(`^thr_[0-9A-Za-z]{56}$`)
	for _, g := range []uint32{0, 1, 1 << 31, 1<<32 - 1} {
		want := generationOf{ident.NewSessionID(noon, rand.Reader), g}
		text := mustFormat(t, want, oneKey)
		if !form.MatchString(text) {
			t.Errorf("token %q has another form", text)
		}
		if got, err := parse(text, oneKey); err != nil || got != want {
			t.Errorf("parse = %v, %v; want %v", got, err, want)
		}
		if again := mustFormat(t, want, oneKey); again != text {
			t.Error("the same generation has two tokens")
		}
	}
}

// A key may be replaced: what it authenticated stays good until it is removed.
func TestAnOlderKeyStillOpensItsTokens(t *testing.T) {
	g := generationOf{ident.NewSessionID(noon, rand.Reader), 3}
	text := mustFormat(t, g, oneKey)
	both := keyring{1: oneKey[1], 2: strings.Repeat("x", 32)}
	if got, err := parse(text, both); err != nil || got != g {
		t.Errorf("with the next key current: %v, %v", got, err)
	}
	if _, err := parse(text, keyring{2: both[2]}); !errors.Is(err, fault.InvalidToken) {
		t.Errorf("without its key: %v", err)
	}
	if _, err := parse(text, keyring{1: strings.Repeat("y", 32)}); !errors.Is(err, fault.InvalidToken) {
		t.Errorf("with another deployment's key: %v", err)
	}
}

func TestEveryMangledTokenIsRefusedAlike(t *testing.T) {
	good := mustFormat(t, generationOf{ident.NewSessionID(noon, rand.Reader), 7}, oneKey)
	sum := func(body string) string { return body + checksum(body) }
	bad := map[string]string{
		"nothing": "", "a word": "x", "cut": good[:len(good)-1], "longer": good + "0", "other prefix": "thk_" + good[4:], "upper case prefix": "THR_" + good[4:],
		"white space": " " + good[1:], "an access token": "eyJhbGciOiJFUzI1NiJ9.e30.x", "over 2^296": sum("thr_" + strings.Repeat("z", 50)),
		"no base62": sum("thr_" + strings.Repeat("-", 50)), "zero": sum("thr_" + strings.Repeat("0", 50)), "checksum": good[:len(good)-1] + "!",
	}
	for i := range len(good) - crcDigits {
		c := byte('0')
		if good[i] == c {
			c = '1'
		}
		b := good[:i] + string(c) + good[i+1:]
		bad[fmt.Sprintf("digit %d", i)] = b
		bad[fmt.Sprintf("digit %d, right checksum", i)] = sum(b[:len(b)-crcDigits])
	}
	for name, text := range bad {
		_, err := parse(text, oneKey)
		f := fault.Of(err)
		if err == nil || f.Code != fault.InvalidToken || f.Reason != "" || f.Detail != "Refresh token is not valid" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzParseRefreshToken: parsing never panics, and what it accepts has exactly
// one spelling.
func FuzzParseRefreshToken(f *testing.F) {
	f.Add("")
	f.Add("thr_")
	f.Add("thr_" + strings.Repeat("0", 56))
	f.Add(mustFormat(f, generationOf{"sess_01khx4m5000000000000000000", 5}, oneKey))
	f.Fuzz(func(t *testing.T, text string) {
		for _, candidate := range []string{text, "thr_" + text + checksum("thr_"+text)} {
			g, err := parse(candidate, oneKey)
			if err != nil {
				if !errors.Is(err, fault.InvalidToken) {
					t.Fatalf("parse(%q): %v", candidate, err)
				}
				continue
			}
			if again := mustFormat(t, g, oneKey); again != candidate {
				t.Fatalf("%q and %q name the same generation", candidate, again)
			}
		}
	})
}

// mustCookie is the cookie of one generation of a browser session.
func mustCookie(t testing.TB, g generationOf, keys MACKeys) string {
	t.Helper()
	p, err := write(browserPrefix, g, keys)
	if err != nil {
		t.Fatal(err)
	}
	return p.Reveal()
}

// SEC-WEB-03, SEC-WEB-04: a cookie that we did not make stands for nobody, and
// no database is asked about it.
func TestAForgedCookieIsAnonymous(t *testing.T) {
	s := &Service{MACs: oneKey, BrowserMACs: keyring{1: strings.Repeat("b", 32)}, Now: func() time.Time { return noon }} // without a store
	g := generationOf{ident.NewSessionID(noon, rand.Reader), 0}
	good, refresh := mustCookie(t, g, s.BrowserMACs), mustFormat(t, g, oneKey)
	renamed := "thb_" + refresh[4:len(refresh)-crcDigits]
	bad := map[string]string{
		"nothing": "", "any value": "deadbeef", "the session's id": string(g.Session), "cut": good[:len(good)-1], "longer": good + "0",
		"another key": mustCookie(t, g, keyring{1: strings.Repeat("c", 32)}), "a refresh token": refresh,
		"a refresh token, renamed": renamed + checksum(renamed), "renamed to a refresh token": "thr_" + good[4:],
	}
	for i := range len(good) - crcDigits {
		c := byte('0')
		if good[i] == c {
			c = '1'
		}
		b := good[:i] + string(c) + good[i+1:len(good)-crcDigits]
		bad[fmt.Sprintf("digit %d", i)] = b + checksum(b)
	}
	for name, cookie := range bad {
		f, err := s.Browser(t.Context(), cookie)
		if e := fault.Of(err); err == nil || f != (Family{}) || e.Code != fault.InvalidToken || e.Reason != "" {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
	if _, err := s.Refresh(t.Context(), Presented{Token: "thr_" + good[4:]}); !errors.Is(err, fault.InvalidToken) {
		t.Errorf("a cookie as refresh token: %v", err)
	}
}

// FuzzReadBrowserCookie: reading never panics, and what it accepts has exactly
// one spelling.
func FuzzReadBrowserCookie(f *testing.F) {
	f.Add("")
	f.Add("thb_" + strings.Repeat("0", 56))
	f.Add(mustFormat(f, generationOf{"sess_01khx4m5000000000000000000", 5}, oneKey))
	f.Add(mustCookie(f, generationOf{"sess_01khx4m5000000000000000000", 5}, oneKey))
	f.Fuzz(func(t *testing.T, text string) {
		for _, candidate := range []string{text, "thb_" + text + checksum("thb_"+text)} {
			if g, ok := read(browserPrefix, candidate, oneKey); ok && mustCookie(t, g, oneKey) != candidate {
				t.Fatalf("%q is a second spelling of %+v", candidate, g)
			}
		}
	})
}
