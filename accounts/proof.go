package accounts

import (
	"context"
	"encoding/binary"
	"io"
	"math/bits"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// Proofs say what lets strangers past the pool of an account that is full of
// failures. The zero Proofs are none: then only waiting does, a known device, or
// a mailed link.
type Proofs struct {
	Kind    string  // ProofOfWork, or the provider of Captcha; empty: none
	Bits    int     // of work at first: each more doubles it
	SiteKey string  // what the provider knows us by, for who shows the puzzle
	Captcha Captcha // for every other kind than ProofOfWork
}

// ProofOfWork is the kind that costs the machine of the stranger a moment.
const ProofOfWork = "work"

// The bounds of Proofs.Bits: a tenth of a millisecond, and a minute in a browser.
const (
	DefaultProofBits = 18
	MinProofBits     = 8
	MaxProofBits     = 26
)

// Captcha is a provider of puzzles for people.
type Captcha interface {
	// Solved reports whether the answer is right and was not shown before. An
	// error means that nobody knows.
	Solved(ctx context.Context, answer string) (bool, error)
}

// Challenge asks for a proof. It is good for one attempt at one identifier. What
// answers it is Token, a dot, and an answer: for ProofOfWork anything of at most
// 32 bytes that lets the SHA-256 of the whole begin with so many zero bits; else
// what the provider's puzzle gave.
type Challenge struct {
	Kind      string // of Proofs
	Token     string
	Bits      int    // of ProofOfWork
	SiteKey   string // of a provider
	ExpiresAt time.Time
}

// ProofRequired is a refusal that says what the next attempt needs.
type ProofRequired struct {
	Challenge Challenge
	Refusal   *fault.Error
}

func (p *ProofRequired) Error() string { return p.Refusal.Error() }

// Unwrap returns the refusal.
func (p *ProofRequired) Unwrap() error { return p.Refusal }

const (
	// ProofTTL is how long a challenge can be answered.
	ProofTTL = 10 * time.Minute

	// proofsPerBit is how many failures with a proof double the work of the next.
	proofsPerBit = 10
	// proofSlack is how many bits less than now will do, because others failed
	// while this one worked.
	proofSlack = 1

	maxProof      = 8 << 10 // bytes; providers' answers have up to four thousand
	maxWorkAnswer = 32
	proofNonce    = 16
	proofText     = 1 + 8 + proofNonce // bits, seconds of the end, random
	proofSize     = 1 + proofText + macSize
)

// shownProof is a proof as an attempt shows it. What its challenge says is ours
// only where it is authentic.
type shownProof struct {
	whole, answer string
	challenge     [proofSize]byte // key id, bits, seconds of the end, random, MAC
}

// parseProof reads what was shown. There is one spelling of each challenge.
func parseProof(text string) (shownProof, bool) {
	head, answer, _ := strings.Cut(text, ".")
	if len(text) > maxProof || answer == "" || len(head) != cookieEncoding.EncodedLen(proofSize) {
		return shownProof{}, false
	}
	b, err := cookieEncoding.DecodeString(head)
	if err != nil || len(b) != proofSize {
		return shownProof{}, false
	}
	return shownProof{whole: text, answer: answer, challenge: [proofSize]byte(b)}, true
}

func (p shownProof) bits() int { return int(p.challenge[1]) }

func (p shownProof) expires() time.Time {
	return time.Unix(int64(binary.BigEndian.Uint64(p.challenge[2:10])), 0)
}

// answers reports whether p answers a challenge of ours for the identifier, as
// far as that shows without asking a provider.
func (p shownProof) answers(kind, identifier string, keys deviceKeys, now time.Time) bool {
	switch {
	case !keys.authentic(p.challenge[:], "proof", identifier), !now.Before(p.expires()):
		return false
	case kind == ProofOfWork:
		return p.bits() > 0 && len(p.answer) <= maxWorkAnswer && zeroBits(secret.Sum(p.whole)) >= p.bits()
	default:
		return p.bits() == 0 // what was asked for while work was the setting is no puzzle of a provider
	}
}

// zeroBits is how many bits at the beginning of b are zero.
func zeroBits(b []byte) int {
	n := 0
	for _, x := range b {
		n += bits.LeadingZeros8(x)
		if x != 0 {
			break
		}
	}
	return n
}

// challenge asks for a proof of so much work, or where that is 0 for the answer
// of a provider.
func (p Proofs) challenge(work int, identifier string, keys deviceKeys, now time.Time, random io.Reader) (Challenge, error) {
	nonce, err := secret.Bytes(random, proofNonce)
	if err != nil {
		return Challenge{}, err
	}
	ends := time.Unix(now.Add(ProofTTL).Unix(), 0).UTC()
	text := binary.BigEndian.AppendUint64([]byte{byte(work)}, uint64(ends.Unix()))
	c := Challenge{Kind: p.Kind, Bits: work, ExpiresAt: ends}
	c.Token = cookieEncoding.EncodeToString(keys.sign(append(text, nonce...), "proof", identifier))
	if p.Kind != ProofOfWork {
		c.SiteKey = p.SiteKey
	}
	return c, nil
}

// work is how many bits a proof must have after what c counted, which attempts
// under way may still add to.
func (p Proofs) work(c Counter, l Limit, now time.Time) int {
	if p.Kind != ProofOfWork {
		return 0
	}
	c = c.at(l, now)
	return p.Bits + (c.Failures+c.underWay())/proofsPerBit
}
