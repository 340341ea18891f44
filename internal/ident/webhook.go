package ident

import (
	"io"
	"time"
)

// WebhookID names an address that is sent an organisation's events: "hook_…".
type WebhookID string

// NewWebhookID makes the identifier of a webhook.
func NewWebhookID(at time.Time, random io.Reader) WebhookID {
	return WebhookID(mint("hook_", at, random))
}

// ParseWebhookID accepts "hook_…".
func ParseWebhookID(s string) (WebhookID, error) {
	_, err := decode("hook_", s)
	return WebhookID(s), err
}
