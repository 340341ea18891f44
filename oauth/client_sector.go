package oauth

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4/json" // refuses duplicate members

	"github.com/tokenhouse/tokenhouse/internal/fault"
)

// SectorFetcher gets a document of JSON from an address that a client named. It
// must not be talked into asking what only we can reach.
type SectorFetcher interface {
	Fetch(ctx context.Context, url string) ([]byte, error)
}

// sectorClaim is what a sector_identifier_uri must bear out: a client says that
// these redirect URIs are of that sector. It is empty where none is said.
func (r Registered) sectorClaim() string {
	if r.Settings.Subject.SectorURI == "" {
		return ""
	}
	return r.Settings.Subject.SectorURI + " " + strings.Join(r.RedirectURIs, " ")
}

// checkSector reads the sector_identifier_uri of a client, which must list all
// its redirect URIs (OpenID Connect Registration 1.0 §5): else a client could
// put itself into the sector of another and tell that other's people. What it
// did not bear out is fault.Invalid; why it could not be read is not told.
func (s *Clients) checkSector(ctx context.Context, r Registered) error {
	const name = "sector_identifier_uri"
	if r.Settings.Subject.SectorURI == "" {
		return nil
	}
	if detail := s.rules().webTrouble(r.Settings.Subject.SectorURI); detail != "" || s.Sectors == nil {
		return fault.Refuse(name, cmp.Or(detail, "is not supported here"))
	}
	body, err := s.Sectors.Fetch(ctx, r.Settings.Subject.SectorURI)
	if err != nil {
		refused := fault.Refuse(name, "could not be read")
		refused.Cause = err
		return refused
	}
	var listed []string
	if err := json.Unmarshal(body, &listed); err != nil || len(listed) > maxSectorURIs {
		return fault.Refuse(name, "must hold a JSON list of at most 100 redirect URIs")
	}
	for _, u := range r.RedirectURIs {
		if !slices.Contains(listed, u) {
			return fault.Refuse(name, "does not list every redirect URI (OpenID Connect Registration 1.0 §5)")
		}
	}
	return nil
}
