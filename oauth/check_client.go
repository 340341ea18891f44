package oauth

import (
	"context"
	"errors"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

func checkClient(ctx context.Context, q *authorizing) error {
	id := q.params["client_id"]
	if id == "" {
		return refusePage("invalid_request", "The parameter client_id is required.")
	}
	r, err := q.Clients.Lookup(ctx, ident.ClientID(id))
	switch {
	case errors.Is(err, fault.NotFound), err == nil && !r.Active():
		return refusePage("invalid_client", "This application is not registered here.")
	case err != nil:
		return err
	}
	q.client = r
	return nil
}
