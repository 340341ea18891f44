package oauth

import (
	"context"
	"errors"
	"sync"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/coherent"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// clientMemory is what is known of clients without asking the database. Ids
// that no client has are kept apart, so that a flood of them pushes no client out.
type clientMemory struct {
	once    sync.Once
	clients *coherent.Cache[ident.ClientID, Registered]
	unknown *coherent.Cache[ident.ClientID, struct{}]
}

var errClientKnown = errors.New("some client has this id")

func (s *Clients) memory() *clientMemory {
	s.cached.once.Do(func() {
		size := s.CacheSize
		if size == 0 {
			size = DefaultClientCache
		}
		s.cached.clients = coherent.New[ident.ClientID, Registered](size, s.Fresh)
		s.cached.unknown = coherent.New[ident.ClientID, struct{}](size, s.Fresh)
	})
	return &s.cached
}

// Lookup returns the client of that id, whatever its organisation and status;
// fault.NotFound where there is none or its time is over. A client of an
// organisation that is not active is disabled. It answers from memory while the change
// feed is heard.
func (s *Clients) Lookup(ctx context.Context, id ident.ClientID) (Registered, error) {
	if _, err := ident.ParseClientID(string(id)); err != nil {
		return Registered{}, errNoClient() // no database is asked about a made-up form
	}
	m := s.memory()
	r, err := m.clients.Get(ctx, id, func(ctx context.Context, id ident.ClientID) (Registered, error) {
		var found Registered
		_, err := m.unknown.Get(ctx, id, func(ctx context.Context, id ident.ClientID) (_ struct{}, err error) {
			found, err = s.Store.AnyClient(ctx, id)
			switch {
			case errors.Is(err, fault.NotFound):
				return struct{}{}, nil
			case err != nil:
				return struct{}{}, err
			default:
				return struct{}{}, errClientKnown // not to be kept among the unknown
			}
		})
		switch {
		case errors.Is(err, errClientKnown):
			return found, nil
		case err != nil:
			return Registered{}, err
		default:
			return Registered{}, errNoClient()
		}
	})
	if over := r.Settings.Dynamic.ExpiresAt; err == nil && !over.IsZero() && !s.Now().Before(over) {
		return Registered{}, errNoClient()
	}
	return r, err
}

func errNoClient() error { return fault.New(fault.NotFound, "There is no such client.") }

// Hear forgets clients that changed, whatever of them changed: that an id had no
// client, and that their organisation was active.
func (s *Clients) Hear(cs []changes.Change) {
	m := s.memory()
	for _, c := range cs {
		if c.Kind == changes.Client {
			m.clients.Purge(ident.ClientID(c.Key))
			m.unknown.Purge(ident.ClientID(c.Key))
		}
		if c.Kind == changes.Org {
			m.clients.PurgeAll() // which are rare, and have few clients each
		}
	}
}

// Forget forgets every client.
func (s *Clients) Forget() {
	m := s.memory()
	m.clients.PurgeAll()
	m.unknown.PurgeAll()
}

var _ changes.Subscriber = (*Clients)(nil)
