package accounts

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/tokenhouse/tokenhouse/accounts/breached"
	"github.com/tokenhouse/tokenhouse/internal/fault"
)

// The bounds of a password, in characters: Unicode code points, of the NFC form
// for the least and as presented for the most.
const (
	DefaultMinLength = 15 // NIST SP 800-63B-4 §3.1.1.2 where a password stands alone
	MaxLength        = 1024
)

// Policy says which new passwords are accepted. There are no composition rules
// and nothing expires (NIST SP 800-63B-4 §3.1.1.2).
type Policy struct {
	MinLength int    // in characters; DefaultMinLength where zero
	Product   string // the name of the service, "tokenhouse" where empty: not to be used in passwords
}

// Least is how many characters a password has at least.
func (p Policy) Least() int {
	if p.MinLength == 0 {
		return DefaultMinLength
	}
	return p.MinLength
}

// Check judges a new password. about is what the account says of itself
// (e-mail, name, organisation), which a password must not contain. What others
// had stolen from them is refused wherever a password is set (NIST SP 800-63B-4
// §3.1.1.2).
func (p Policy) Check(field, password string, about ...string) error {
	if err := Presentable(field, password); err != nil {
		return err
	}
	if least := p.Least(); utf8.RuneCountInString(norm.NFC.String(password)) < least {
		return fault.Refuse(field, "must have at least "+strconv.Itoa(least)+" characters")
	}
	product := p.Product
	if product == "" {
		product = "tokenhouse"
	}
	guess := folded(password)
	for _, w := range contextWords(append(about, product)) {
		if strings.Contains(guess, w) {
			return fault.Refuse(field, "must not contain your e-mail address, your name, or the name of the organisation or the service").Because("context_word")
		}
	}
	if breached.Contains(password) {
		return fault.Refuse(field, "is among the passwords that were stolen elsewhere and are tried first; choose another").Because("breached")
	}
	return nil
}

// Presentable refuses what no password of ours can be: empty, of more than
// MaxLength characters, or not valid UTF-8. It is cheap, for use before
// anything else looks at a password; nothing is ever cut off.
func Presentable(field, password string) error {
	switch {
	case password == "":
		return fault.Refuse(field, "must not be empty")
	case !utf8.ValidString(password) || utf8.RuneCountInString(password) > MaxLength:
		return fault.Refuse(field, "must be valid UTF-8 of at most 1024 characters")
	}
	return nil
}

// shortestWord is the shortest context word that counts, in bytes: a name like
// "Al" is in too many good passwords.
const shortestWord = 4

// contextWords returns the words of about, folded. An address counts whole and
// by its local part.
func contextWords(about []string) []string {
	var out []string
	for _, a := range about {
		a = folded(strings.TrimSpace(a))
		local, _, _ := strings.Cut(a, "@")
		for _, w := range append(strings.Fields(a), a, local) {
			if len(w) >= shortestWord {
				out = append(out, w)
			}
		}
	}
	return out
}
