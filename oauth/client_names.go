package oauth

import (
	"context"
	"errors"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// Names returns what the clients of delegated sessions are called, for whoever
// looks at the sessions. A client that no longer exists has no name, and
// neither have those that are part of tokenhouse.
func (s *Clients) Names(ctx context.Context, sessions []tokens.Family) (map[ident.ClientID]string, error) {
	names := map[ident.ClientID]string{}
	for _, f := range sessions {
		if _, known := names[f.Client]; known || !f.IsDelegated() {
			continue
		}
		r, err := s.Lookup(ctx, f.Client)
		if err != nil && !errors.Is(err, fault.NotFound) {
			return nil, err
		}
		names[f.Client] = r.Name
	}
	return names, nil
}
