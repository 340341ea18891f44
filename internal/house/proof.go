package house

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/accounts/captcha"
	"github.com/tokenhouse/tokenhouse/internal/outbound"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/server/pages"
)

// LoginProof says what lets strangers log in to an account that others failed at
// too often.
type LoginProof struct {
	Kind      string       // work, a provider of captchas, or off
	Bits      int          // of work at first
	SiteKey   string       // by which the provider knows our pages
	Secret    secret.Plain // by which it knows us
	VerifyURL string       // where it judges answers; the provider's own where empty
	ScriptURL string       // what shows the puzzle; the provider's own where empty
}

// ProofOff lets nobody past.
const ProofOff = "off"

func defaultLoginProof() LoginProof {
	return LoginProof{Kind: accounts.ProofOfWork, Bits: accounts.DefaultProofBits}
}

func (p LoginProof) check(c Config, f *findings) {
	if p.Bits < accounts.MinProofBits || p.Bits > accounts.MaxProofBits {
		f.mistake("login_proof_bits", fmt.Sprintf("%d bits", p.Bits), fmt.Sprintf("%d to %d: each more doubles the work; 18 is a fraction of a second in a browser", accounts.MinProofBits, accounts.MaxProofBits))
	}
	_, known := captcha.ProviderOf(p.Kind)
	if !known {
		switch {
		case p.Kind != accounts.ProofOfWork && p.Kind != ProofOff:
			f.mistake("login_proof", fmt.Sprintf("%q", p.Kind), "work, "+strings.Join(captcha.Kinds(), ", ")+", or off")
		case p.SiteKey != "" || p.VerifyURL != "" || p.ScriptURL != "" || !p.Secret.IsZero():
			f.warn("login_proof", "no captcha is shown, though other settings of captchas are there", strings.Join(captcha.Kinds(), " or "))
		}
		return
	}
	if p.SiteKey == "" {
		f.mistake("captcha_site_key", "the provider's puzzles cannot be shown without it", "the site key that the provider lists for "+c.Issuer)
	}
	if p.Secret.IsZero() {
		f.mistake("captcha_secret", "the provider judges no answers without it", "the secret that belongs to the site key")
	}
	for key, address := range map[string]string{"captcha_verify_url": p.VerifyURL, "captcha_script_url": p.ScriptURL} {
		if err := c.outbound().CheckURL(address); address != "" && err != nil {
			f.mistake(key, err.Error(), "an https URL at a public address, or empty for the provider's own")
		}
	}
}

// provider is whose puzzles are shown, and whether any are.
func (p LoginProof) provider() (captcha.Provider, bool) {
	out, ok := captcha.ProviderOf(p.Kind)
	return out.At(p.VerifyURL, p.ScriptURL), ok
}

// puzzle is how the login page shows the provider's puzzle.
func (p LoginProof) puzzle() pages.Puzzle {
	by, ok := p.provider()
	if !ok {
		return pages.Puzzle{}
	}
	return pages.Puzzle{
		Class: by.Class, SiteKey: p.SiteKey, Script: by.Script, Field: by.Field,
		Scripts: by.Scripts, Frames: by.Frames, Styles: by.Styles, Connections: by.Connections,
	}
}

// proofs are what the login asks for.
func (h *House) proofs() accounts.Proofs {
	p := h.conf.Accounts.Proof
	by, puzzle := p.provider()
	switch {
	case p.Kind == ProofOff:
		return accounts.Proofs{}
	case !puzzle:
		return accounts.Proofs{Kind: accounts.ProofOfWork, Bits: p.Bits}
	}
	checker := captcha.NewChecker(by, p.Secret, h.conf.puzzleHosts(), h.outbound())
	checker.Failed = func(err error) {
		h.Metrics.ProofUnavailable()
		h.env.Logger.WarnContext(context.Background(), "a captcha could not be checked", "err", err)
	}
	return accounts.Proofs{Kind: p.Kind, SiteKey: p.SiteKey, Captcha: checker}
}

// puzzleHosts are where puzzles are shown: at our own pages, and at those that
// may call us from a browser.
func (c Config) puzzleHosts() []string {
	var out []string
	for _, address := range append([]string{c.Issuer}, c.HTTP.CORSOrigins...) {
		if u, err := url.Parse(address); err == nil && !slices.Contains(out, u.Hostname()) {
			out = append(out, strings.ToLower(u.Hostname()))
		}
	}
	return out
}

// outbound asks the servers that others name. In development, where we are on
// this machine only, they may be too.
func (c Config) outbound() *outbound.Client {
	if c.Development() {
		return &outbound.Client{Networks: outbound.Loopback()}
	}
	return &outbound.Client{}
}
