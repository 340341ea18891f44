package audit

import (
	"regexp"
	"testing"
)

func TestEveryEventHasACodeOfItsOwn(t *testing.T) {
	form := regexp.MustCompile(`^TH\d{4}[IWE]$`)
	seen := map[string]Name{}
	for _, n := range Names() {
		c := n.Code()
		if !form.MatchString(c) {
			t.Errorf("%s has code %q", n, c)
		}
		if other, ok := seen[c]; ok {
			t.Errorf("%s and %s share %s", n, other, c)
		}
		seen[c] = n
	}
	if Name("no.such").Code() != "" {
		t.Error("an unknown name has a code")
	}
}
