package house

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/outbound"
	"github.com/tokenhouse/tokenhouse/oauth"
)

// ClientRegistration says who may register OAuth clients without an
// administrator, and within which limits.
type ClientRegistration struct {
	Mode   string        // off, token or open
	Org    string        // slug of the organisation that openly registered clients are of; the oldest one where empty
	TTL    time.Duration // after which an openly registered client is forgotten
	Limit  int           // how many openly registered clients there are at most
	Hourly int           // how many of them one network may register in an hour
}

func defaultClientRegistration() ClientRegistration {
	return ClientRegistration{Mode: string(oauth.RegistrationOff), TTL: 90 * 24 * time.Hour, Limit: 1000, Hourly: 100}
}

func (c ClientRegistration) check(f *findings) {
	if modes := []string{string(oauth.RegistrationOff), string(oauth.RegistrationToken), string(oauth.RegistrationOpen)}; !slices.Contains(modes, c.Mode) {
		f.mistake("client_registration", fmt.Sprintf("%q", c.Mode), "off, token where callers with clients:manage may, or open where anybody may")
	}
	if c.Org != "" && c.Mode != string(oauth.RegistrationOpen) {
		f.warn("client_registration_org", "it is used where client_registration is open only", "no value")
	}
	if c.Limit < 1 || c.Limit > 1_000_000 {
		f.mistake("client_registration_limit", fmt.Sprintf("%d clients", c.Limit), "1 to 1000000")
	}
	if c.Hourly < 1 || c.Hourly > 100_000 {
		f.mistake("client_registration_hourly", fmt.Sprintf("%d clients", c.Hourly), "1 to 100000")
	}
	span{"client_registration_ttl", c.TTL, time.Hour, 10 * 365 * 24 * time.Hour}.check(f)
}

// registrations let clients register themselves.
func (h *House) registrations() *oauth.Registrations {
	c := h.conf.Clients
	home := &homeOrg{house: h}
	return &oauth.Registrations{
		Clients: h.Clients, Mode: oauth.RegistrationMode(c.Mode), Home: home.find,
		Limits: oauth.RegistrationLimits{Living: c.Limit, Hourly: c.Hourly, Life: c.TTL},
	}
}

// homeOrg finds the organisation of openly registered clients.
type homeOrg struct {
	house *House

	mu     sync.Mutex
	oldest ident.OrgID // once it is known: there is none before it
}

func (o *homeOrg) find(ctx context.Context) (ident.OrgID, error) {
	if slug := o.house.conf.Clients.Org; slug != "" {
		org, err := o.house.DB.Accounts().OrgBySlug(ctx, slug)
		if errors.Is(err, fault.NotFound) {
			return "", fmt.Errorf("client_registration_org: there is no organisation %q", slug)
		}
		return org.ID, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for page := (ident.Page{Limit: 1000}); o.oldest == ""; {
		orgs, err := o.house.DB.Accounts().Orgs(ctx, page)
		if err != nil {
			return "", err
		}
		if len(orgs) == 0 {
			break
		}
		page.Before = string(orgs[len(orgs)-1].ID)
		if len(orgs) < page.Limit {
			o.oldest = orgs[len(orgs)-1].ID
		}
	}
	if o.oldest == "" {
		return "", fault.New(fault.Unavailable, "There is no organisation yet.")
	}
	return o.oldest, nil
}

// sectors fetches sector_identifier_uri documents.
type sectors struct{ client *outbound.Client }

// maxSector bounds such a document, in bytes.
const maxSector = 64 << 10

func (s sectors) Fetch(ctx context.Context, url string) ([]byte, error) {
	r, err := s.client.Do(ctx, outbound.Request{URL: url, Accept: []string{"application/json"}, MaxBytes: maxSector})
	switch {
	case err != nil:
		return nil, err
	case r.Status != http.StatusOK:
		return nil, fmt.Errorf("%w: status %d", outbound.ErrAnswer, r.Status)
	}
	return r.Body, nil
}
