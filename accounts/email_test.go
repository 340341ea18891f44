package accounts

import (
	"errors"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/fault"
)

func TestSpellingsOfOneAddressAreOne(t *testing.T) {
	// SEC-LOG-17
	for _, group := range [][]string{
		{"a@x.example", "A@x.example", "a@X.EXAMPLE", "a@x.example ", "\ta@x.example\n", "Ａ@x.example", "a@ｘ.example"},
		{"straße@example.com", "STRASSE@example.com", "strasse@example.com"},
		{"a@bücher.example", "a@BÜCHER.example", "a@xn--bcher-kva.example", "a@XN--BCHER-KVA.example", "a@bu\u0308cher.example", "a@bücher。example"},
		{"\u212aate@example.com", "kate@example.com", "KATE@example.com"},
		{"caf\u00e9@example.com", "cafe\u0301@example.com", "CAFÉ@example.com"},
		{"ὀδυσσεύς@example.com", "ὈΔΥΣΣΕΎΣ@example.com"},
		{"admin@localhost", "Admin@LOCALHOST"},
	} {
		for _, s := range group {
			e, err := ParseEmail(s)
			first, _ := ParseEmail(group[0])
			if err != nil || e.Canonical != first.Canonical || e.Canonical == "" {
				t.Errorf("ParseEmail(%q) = %q, %v; want %q", s, e.Canonical, err, first.Canonical)
			}
			if Identifier(s) != first.Canonical {
				t.Errorf("Identifier(%q) = %q, want %q", s, Identifier(s), first.Canonical)
			}
		}
	}
}

func TestAddressesThatOnlyLookAlikeAreTwo(t *testing.T) {
	// SEC-LOG-17: folding must not turn the dotless i into an i, nor a Cyrillic
	// letter into a Latin one.
	for _, pair := range [][2]string{
		{"mıke@example.com", "mike@example.com"},
		{"MİKE@example.com", "mike@example.com"},
		{"\u0430nna@example.com", "anna@example.com"},
		{"a.b@example.com", "ab@example.com"},
		{"a+b@example.com", "a@example.com"},
		{"a@ex\u0430mple.com", "a@example.com"},
	} {
		a, err1 := ParseEmail(pair[0])
		b, err2 := ParseEmail(pair[1])
		if err1 != nil || err2 != nil || a.Canonical == b.Canonical {
			t.Errorf("%q and %q: %q, %q, %v, %v; want two addresses", pair[0], pair[1], a.Canonical, b.Canonical, err1, err2)
		}
	}
}

func TestMalformedAddressesAreRefused(t *testing.T) {
	for name, s := range map[string]string{
		"empty": "", "only spaces": "  ", "no at": "example.com", "no local": "@example.com", "no domain": "a@",
		// SEC-OAU-71
		"two ats": "a@allowed.com@evil.com", "at look-alike": "a＠example.com", "second at look-alike": "a@allowed.com＠evil.com",
		"small at": "a﹫example.com", "trailing dot": "a@example.com.", "trailing ideographic dot": "a@example.com。",
		"quoted": `"a b"@example.com`, "quoted at": `"a@b"@example.com`, "comment": "a(b)@example.com", "comment in domain": "a@(b)example.com",
		"angle brackets": "A <a@example.com>", "list": "a@example.com,b@example.com", "address literal": "a@[127.0.0.1]",
		"space inside": "a b@example.com", "tab inside": "a\tb@example.com", "no-break space": "a\u00a0b@example.com",
		"newline": "a@example.com\nBcc:b@example.com", "NUL": "a\x00@example.com", "DEL": "a\x7f@example.com",
		"zero-width joiner": "a\u200d@example.com", "soft hyphen": "a\u00ad@example.com", "right-to-left mark": "a\u202e@example.com",
		"variation selector": "a\ufe0f@example.com", "Hangul filler": "a\u3164b@example.com", "grapheme joiner": "a\u034fb@example.com",
		"leading dot": ".a@example.com", "last dot": "a.@example.com", "two dots": "a..b@example.com",
		"empty label": "a@example..com", "leading hyphen": "a@-example.com", "underscore domain": "a@exa_mple.com",
		"bad punycode": "a@xn--\u00fc.example", "ASCII in punycode": "a@xn--example-.com", "invalid UTF-8": "a\xff@example.com",
		"long local": strings.Repeat("a", 65) + "@example.com", "long label": "a@" + strings.Repeat("b", 64) + ".com",
		"long": strings.Repeat("a", 64) + "@" + strings.Repeat(strings.Repeat("b", 60)+".", 4) + "com", "semicolon": "a;b@example.com", "backslash": `a\b@example.com`,
	} {
		e, err := ParseEmail(s)
		if !errors.Is(err, fault.Invalid) || e != (Email{}) {
			t.Errorf("%s: ParseEmail(%q) = %+v, %v; want fault.Invalid", name, s, e, err)
			continue
		}
		if f := fault.Of(err).Fields; len(f) != 1 || f[0].Name != "email" || f[0].Detail == "" {
			t.Errorf("%s: fields %+v, want one that names email", name, f)
		}
	}
}

func TestEmailKeepsWhatWasTyped(t *testing.T) {
	e, err := ParseEmail("  Anna.Müller@Bücher.Example ")
	if err != nil || e.Typed != "Anna.Müller@Bücher.Example" || e.Canonical != "anna.müller@xn--bcher-kva.example" {
		t.Errorf("ParseEmail = %+v, %v", e, err)
	}
}

func TestIdentifierIsTotal(t *testing.T) {
	for s, want := range map[string]string{"": "", " Bob ": "bob", "\xff": "\ufffd", "A@B@C": "a@b@c", "Ｂob": "bob"} {
		if got := Identifier(s); got != want {
			t.Errorf("Identifier(%q) = %q, want %q", s, got, want)
		}
	}
}

func FuzzParseEmail(f *testing.F) {
	for _, s := range []string{
		"a@example.com", "A@x ", "a＠b.c", "a@b@c", "ß@ẞ.de", "\u0345@x.y", "a@xn--a.b", "İ@İ.com", "ﬃ@ﬃ.com", "a@。", "a@\u0338b.c",
		"\u1e9e@x", "a@xn--bcher-kva.example", "a@b\u200d.c", "\u03f4\u0342@x.y",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id := Identifier(s)
		e, err := ParseEmail(s)
		if err != nil {
			if e != (Email{}) || !errors.Is(err, fault.Invalid) {
				t.Fatalf("ParseEmail(%q) = %+v, %v", s, e, err)
			}
			return
		}
		again, err := ParseEmail(e.Canonical)
		if err != nil || again.Canonical != e.Canonical || again.Typed != e.Canonical {
			t.Fatalf("%q is canonically %q, which is canonically %q, %v", s, e.Canonical, again.Canonical, err)
		}
		if id != e.Canonical || strings.Count(e.Canonical, "@") != 1 || len(e.Canonical) > maxEmail || strings.TrimSpace(e.Canonical) != e.Canonical {
			t.Fatalf("%q: canonical %q, identifier %q", s, e.Canonical, id)
		}
	})
}
