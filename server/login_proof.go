package server

import (
	"errors"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/server/pages"
)

// challenge is what the next login needs, as programs read it: the member proof
// of a 423 or a 401. The answer is sent as the member proof of the login.
type challenge struct {
	Kind      string    `json:"kind"`               // "work", or a provider of puzzles
	Challenge string    `json:"challenge"`          // what the proof begins with, before a dot
	Bits      int       `json:"bits,omitempty"`     // of work: zero bits that the proof's SHA-256 begins with
	SiteKey   string    `json:"site_key,omitempty"` // of a provider
	ExpiresAt timestamp `json:"expires_at"`
}

// challengeOf returns the challenge of a refused login; nil where there is none.
func challengeOf(err error) *challenge {
	var p *accounts.ProofRequired
	if !errors.As(err, &p) {
		return nil
	}
	c := p.Challenge
	return &challenge{Kind: c.Kind, Challenge: c.Token, Bits: c.Bits, SiteKey: c.SiteKey, ExpiresAt: timestamp{c.ExpiresAt}}
}

// proofOf is the proof that a form of the login page brings; empty where it
// brings none. Of a puzzle, the provider's script adds the answer.
func (s *Server) proofOf(v visitor) string {
	if answer := v.params[s.Pages.Puzzle.Field]; s.Pages.Puzzle.Field != "" && v.params["challenge"] != "" && answer != "" {
		return v.params["challenge"] + "." + answer
	}
	return v.params["proof"]
}

// proofFor is what the login page shows to ask for a proof; nil where the refusal
// asks for none.
func (s *Server) proofFor(err error) *pages.Proof {
	c := challengeOf(err)
	if c == nil {
		return nil
	}
	out := &pages.Proof{Challenge: c.Challenge, Bits: c.Bits, Mailed: s.Pages.Mails}
	if c.Kind != accounts.ProofOfWork {
		out.Puzzle = &s.Pages.Puzzle
	}
	return out
}
