package accounts

import (
	"errors"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/fault"
)

func TestPolicyAcceptsAnyLongEnoughPassword(t *testing.T) {
	// SEC-LOG-21: no composition rules. SEC-LOG-16: spaces, NUL and emoji count.
	for name, s := range map[string]string{
		"letters only": "abcdefghijklmno", "digits only": "928374650192837", "spaces only": strings.Repeat(" ", 15),
		"NUL inside": "abcdefg\x00hijklmn", "emoji": strings.Repeat("🦊", 15), "one letter": strings.Repeat("ŋ", 15),
		"the longest": strings.Repeat("ü", MaxLength), // SEC-LOG-14: 2 048 bytes
		"combining":   "e\u0301" + strings.Repeat("x", 14),
	} {
		if err := (Policy{}).Check("password", s, "anna@example.com", "Anna Müller", "Example Inc"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPolicyRefuses(t *testing.T) {
	about := []string{"anna.mueller@example.com", "Anna Al Müller", "Globex Corporation"}
	for name, s := range map[string]string{
		"empty": "", "14 characters": "abcdefghijklmn", "14 characters in 28 bytes": strings.Repeat("ü", 14),
		"14 characters once composed": strings.Repeat("e\u0301", 14),
		"1025 characters":             strings.Repeat("a", MaxLength+1), // SEC-LOG-14
		"1 MB":                        strings.Repeat("a", 1<<20), "64 kB": strings.Repeat("a", 64<<10), "invalid UTF-8": strings.Repeat("a", 20) + "\xff",
		// SEC-LOG-20, the context half
		"the address": "anna.mueller@example.com", "the local part": "xx anna.mueller xx", "the name": "Anna Al Müller 1234567",
		"a word of the name": "1234567 müller 1234567", "the name decomposed": "12345678 mu\u0308ller 12345678", "the organisation": "i love GLOBEX very much",
		// and the breached half
		"a common one": "passwordpassword", "in capitals": "PASSWORDPASSWORD", "digits that everybody takes": "123456789987654321",
		"the product": "my tokenhouse password", "the product in full width": "my ＴＯＫＥＮＨＯＵＳＥ password",
	} {
		err := (Policy{}).Check("password", s, about...)
		if !errors.Is(err, fault.Invalid) || fault.Of(err).Fields[0].Name != "password" {
			t.Errorf("%s: %v, want fault.Invalid naming password", name, err)
		}
		if s != "" && strings.Contains(err.Error(), s) {
			t.Errorf("%s: the refusal repeats the password", name)
		}
	}
}

func TestPolicyCanBeConfigured(t *testing.T) {
	p := Policy{MinLength: 8, Product: "Overwatch"}
	if err := p.Check("password", "8 signs!"); err != nil {
		t.Error(err)
	}
	if err := p.Check("password", "7 signs"); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "at least 8") {
		t.Errorf("7 characters of 8: %v", err)
	}
	if err := p.Check("password", "overwatch it is"); !errors.Is(err, fault.Invalid) {
		t.Errorf("the configured product: %v", err)
	}
	// A word of three letters is in too many good passwords to be forbidden.
	if err := p.Check("password", "always and always", "Al"); err != nil {
		t.Error(err)
	}
}
