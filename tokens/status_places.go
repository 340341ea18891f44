package tokens

import (
	"context"
	"strings"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// Places gives access tokens their places in status lists.
type Places interface {
	// Next returns a place that no other token has. It writes nothing, but for
	// a block of places from time to time. It is fault.Unavailable where none is
	// left and storage gives no more. A place that is then not used is lost.
	Next(ctx context.Context, h LeaseHolder) (Place, error)
}

// LeaseHolder is for whom places are set aside in storage, so that all of
// them can be revoked together: an API key or a client, for tokens that no
// session stands behind. The zero one is the replica itself, for tokens whose
// places their sessions remember.
type LeaseHolder struct {
	Kind HolderKind
	ID   string       // of the API key or client
	User ident.UserID // who owns the API key; empty of clients
}

// HolderKind says what a LeaseHolder is.
type HolderKind string

// The kinds of holder.
const (
	NoHolder     HolderKind = ""
	KeyHolder    HolderKind = "api_key"
	ClientHolder HolderKind = "client"
)

// leaseHolder is whose places a token of the grant takes.
func (g AccessGrant) leaseHolder() LeaseHolder {
	if g.Session != "" {
		return LeaseHolder{}
	}
	if g.Key != "" {
		return LeaseHolder{Kind: KeyHolder, ID: string(g.Key), User: g.User}
	}
	return LeaseHolder{Kind: ClientHolder, ID: string(g.Client)}
}

// PlaceOf returns the place that the status claim of one of the issuer's own
// tokens names; zero where it names none.
func (s *Service) PlaceOf(issuer string, r StatusReference) Place {
	list, ok := strings.CutPrefix(r.URI, StatusListURI(issuer, ""))
	if !ok || list == "" || strings.Contains(list, "/") || r.Index >= StatusListPlaces {
		return Place{}
	}
	return Place{List: list, Position: PositionOf(s.StatusKey, list, r.Index)}
}
