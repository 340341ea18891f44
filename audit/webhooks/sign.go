package webhooks

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// SecretPrefix starts every secret of an endpoint (Standard Webhooks 1.0,
// "Signature scheme").
const SecretPrefix = "whsec_"

// secretBytes is the size of a key: the standard asks for 24 to 64.
const secretBytes = 32

// Secret is a signing secret as it is stored.
type Secret struct {
	N          int // counts from 1 within its endpoint
	Sealed     []byte
	CreatedAt  time.Time
	ValidUntil time.Time // zero for the current one
}

// SecretContext is what a sealed secret is bound to.
func SecretContext(id ident.WebhookID, n int) string {
	return "webhook-secret:" + string(id) + ":" + strconv.Itoa(n)
}

// Sealer keeps secrets that must be read again: sealing.Keeper.
type Sealer interface {
	Seal(plain []byte, context string) ([]byte, error)
	Open(sealed []byte, context string) ([]byte, error)
}

// newSecret makes a key, as it is shown once and as it is stored.
func newSecret(sealer Sealer, random io.Reader, id ident.WebhookID, s Secret) (secret.Plain, Secret, error) {
	key, err := secret.Bytes(random, secretBytes)
	if err != nil {
		return secret.Plain{}, Secret{}, err
	}
	if s.Sealed, err = sealer.Seal(key, SecretContext(id, s.N)); err != nil {
		return secret.Plain{}, Secret{}, fmt.Errorf("seal the secret of a webhook: %w", err)
	}
	return secret.Of(SecretPrefix + base64.StdEncoding.EncodeToString(key)), s, nil
}

// keys opens what an endpoint's messages are signed with at now.
func keys(sealer Sealer, e Endpoint, now time.Time) ([][]byte, error) {
	var out [][]byte
	for _, s := range e.Secrets {
		if !s.ValidUntil.IsZero() && !s.ValidUntil.After(now) {
			continue
		}
		key, err := sealer.Open(s.Sealed, SecretContext(e.ID, s.N))
		if err != nil {
			return nil, fmt.Errorf("open secret %d of webhook %s: %w", s.N, e.ID, err)
		}
		out = append(out, key)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("webhook %s has no secret", e.ID)
	}
	return out, nil
}

// message is the body of a delivery (Standard Webhooks 1.0, "Payload structure").
// It is the same in every attempt.
type message struct {
	Type      audit.Name `json:"type"`
	Timestamp string     `json:"timestamp"`
	Data      audit.Line `json:"data"`
}

func bodyOf(e audit.Event) ([]byte, error) {
	l := audit.LineOf(e)
	return json.Marshal(message{Type: e.Name, Timestamp: l.Time, Data: l})
}

// headers authenticate a message (ibid., "Webhook metadata", "Signature scheme"):
// its id is the event's and stays, its time is the attempt's. There is one
// signature for each key, so that a receiver may know the old or the new one.
func headers(id ident.EventID, at time.Time, body []byte, keys [][]byte) map[string]string {
	stamp := strconv.FormatInt(at.Unix(), 10)
	signatures := make([]string, len(keys))
	for i, key := range keys {
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%s.", id, stamp)
		mac.Write(body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return map[string]string{
		"Content-Type": "application/json", "webhook-id": string(id), "webhook-timestamp": stamp, "webhook-signature": strings.Join(signatures, " "),
	}
}
