package main

import "github.com/tokenhouse/tokenhouse/internal/secret"

// mailSettings say which mail server takes our mails.
func mailSettings() []setting {
	return []setting{
		text("smtp_server", "host:port of the mail server that tells people when they are locked out", func(c *config) *string { return &c.House.Mail.Server }).defaultsTo("no mail is sent"),
		text("smtp_security", "how the mail server is reached: starttls, tls (from the first byte) or none", func(c *config) *string { return &c.House.Mail.Security }),
		text("smtp_username", "name that the mail server asks for", func(c *config) *string { return &c.House.Mail.Username }).defaultsTo("none"),
		hidden("smtp_password", "password of that name", func(c *config) *secret.Plain { return &c.House.Mail.Password }).defaultsTo("none"),
		text("smtp_from", "address that mails come from: Name <name@example.com>", func(c *config) *string { return &c.House.Mail.From }).defaultsTo("none"),
		text("smtp_ca_file", "PEM file of the authorities that may vouch for the mail server", func(c *config) *string { return &c.House.Mail.CAFile }).defaultsTo("those of the machine"),
	}
}
