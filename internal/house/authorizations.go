package house

import (
	"context"
	"fmt"
	"net/http"

	"github.com/tokenhouse/tokenhouse/internal/outbound"
	"github.com/tokenhouse/tokenhouse/oauth"
)

// authorizer answers authorization requests.
func (h *House) authorizer(proofs *oauth.ClientAuthenticator) *oauth.Authorizer {
	return &oauth.Authorizer{
		Clients: h.Clients, Directory: h.Directory, Store: h.DB.Authorizations(), Sealer: h.parts.master, Keys: proofs,
		Objects: objects{h.outbound()}, IDKeys: h.Ring, Subjects: h.subjects(), Issuer: h.conf.Issuer, Audience: h.conf.audience(),
		Now: h.env.Now, Random: h.env.Random,
	}
}

// objects fetches request objects, which clients publish.
type objects struct{ client *outbound.Client }

// maxObject bounds a request object that is fetched, in bytes.
const maxObject = 16 << 10

func (o objects) Fetch(ctx context.Context, url string) ([]byte, error) {
	r, err := o.client.Do(ctx, outbound.Request{URL: url, MaxBytes: maxObject})
	switch {
	case err != nil:
		return nil, err
	case r.Status != http.StatusOK:
		return nil, fmt.Errorf("%w: status %d", outbound.ErrAnswer, r.Status)
	}
	return r.Body, nil
}

// codeBatch bounds how many codes one statement removes.
const codeBatch = 500

// forgetCodes removes codes that nobody needs to know of.
func (h *House) forgetCodes(ctx context.Context) (err error) {
	now := h.env.Now()
	for n := codeBatch; err == nil && n == codeBatch && ctx.Err() == nil; {
		n, err = h.DB.Authorizations().DeleteExpiredCodes(ctx, now, codeBatch)
	}
	return err
}
