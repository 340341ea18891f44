package main

import "github.com/tokenhouse/tokenhouse/internal/secret"

// loginProofSettings say what lets strangers past the failures of others.
func loginProofSettings() []setting {
	return []setting{
		text("login_proof", "what lets strangers log in to an account that others failed at a hundred times in an hour: work (of their machine), hcaptcha, turnstile or recaptcha (of themselves), or off", func(c *config) *string { return &c.House.Accounts.Proof.Kind }),
		count("login_proof_bits", "how much work: each more doubles it", func(c *config) *int { return &c.House.Accounts.Proof.Bits }),
		text("captcha_site_key", "site key of the provider of captchas", func(c *config) *string { return &c.House.Accounts.Proof.SiteKey }).defaultsTo("none"),
		hidden("captcha_secret", "secret of that site key", func(c *config) *secret.Plain { return &c.House.Accounts.Proof.Secret }).defaultsTo("none"),
		text("captcha_verify_url", "where the provider judges answers", func(c *config) *string { return &c.House.Accounts.Proof.VerifyURL }).defaultsTo("the provider's own"),
		text("captcha_script_url", "the script that shows the captcha", func(c *config) *string { return &c.House.Accounts.Proof.ScriptURL }).defaultsTo("the provider's own"),
	}
}
