package captcha

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/tokenhouse/tokenhouse/internal/outbound"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// Asker asks servers: *outbound.Client.
type Asker interface {
	Do(ctx context.Context, r outbound.Request) (outbound.Response, error)
}

// Checker asks a provider. Every field but Failed is required.
type Checker struct {
	Provider Provider
	Secret   secret.Plain // by which the provider knows us
	// Hosts are where a puzzle may have been answered, as the provider saw it.
	Hosts []string
	Asker Asker
	// Failed, where set, is told why the provider did not say what an answer is
	// worth.
	Failed func(error)

	places chan struct{}
}

// atOnce is how many answers are being judged at the same time. One more is told
// that the provider cannot be asked: we are not made to flood it.
const atOnce = 16

// NewChecker returns a Checker of a provider.
func NewChecker(p Provider, s secret.Plain, hosts []string, asker Asker) *Checker {
	return &Checker{Provider: p, Secret: s, Hosts: hosts, Asker: asker, places: make(chan struct{}, atOnce)}
}

var errBusy = errors.New("too many answers are being judged")

// ours are the error codes that say that the mistake is the operator's, not that
// of whoever answered.
var ours = []string{
	"missing-input-secret", "invalid-input-secret", "sitekey-secret-mismatch", "not-using-dummy-secret", "internal-error",
}

// verdict is what a provider says; the members that all three have.
type verdict struct {
	Success  bool     `json:"success"`
	Hostname string   `json:"hostname"`
	Errors   []string `json:"error-codes"`
}

const (
	maxVerdict = 16 << 10 // bytes
	ok         = 200      // RFC 9110 §15.3.1
)

// Solved reports whether the provider says that the answer is right, was given
// on a page of ours, and was not shown before. The address of whoever answered is
// not passed on.
func (c *Checker) Solved(ctx context.Context, answer string) (bool, error) {
	v, err := c.ask(ctx, answer)
	if err != nil {
		err = fmt.Errorf("%s: %w", c.Provider.Kind, err)
		if c.Failed != nil {
			c.Failed(err)
		}
		return false, err
	}
	return v.Success && slices.Contains(c.Hosts, strings.ToLower(v.Hostname)), nil
}

func (c *Checker) ask(ctx context.Context, answer string) (verdict, error) {
	select {
	case c.places <- struct{}{}:
		defer func() { <-c.places }()
	default:
		return verdict{}, errBusy
	}
	form := url.Values{"secret": {c.Secret.Reveal()}, "response": {answer}}
	r, err := c.Asker.Do(ctx, outbound.Request{
		Method: "POST", URL: c.Provider.Verify, Body: []byte(form.Encode()),
		Header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"},
		Accept: []string{"application/json"}, MaxBytes: maxVerdict,
	})
	if err != nil {
		return verdict{}, err
	}
	var v verdict
	switch {
	case json.Unmarshal(r.Body, &v) != nil:
		return verdict{}, fmt.Errorf("it answered %d with what is no JSON", r.Status)
	case slices.ContainsFunc(v.Errors, func(e string) bool { return slices.Contains(ours, e) }):
		return verdict{}, fmt.Errorf("it answered %d with %.100q: is captcha_secret right?", r.Status, v.Errors)
	case r.Status != ok:
		return verdict{}, fmt.Errorf("it answered %d", r.Status)
	}
	return v, nil
}
