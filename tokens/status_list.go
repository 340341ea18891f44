package tokens

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
)

const (
	// StatusListType is the typ header of a status list
	// (draft-ietf-oauth-status-list §5.1), and after "application/" its media type.
	StatusListType = "statuslist+jwt"
	// StatusListPlaces is how many tokens a list has a place for.
	StatusListPlaces = 1 << 20
	// StatusListPath is where under the issuer the lists are served.
	StatusListPath = "/oauth2/status-lists"
	// DefaultStatusListTTL is how long a verifier may keep a list before it asks
	// again.
	DefaultStatusListTTL = time.Minute
	// StatusListLives is how many times its ttl a list is valid, for verifiers
	// that bear an outage.
	StatusListLives = 5
	// statusMargin is how much longer than asked for a place stays revoked: clocks
	// of verifiers differ, and they accept a token for a little beyond its time.
	statusMargin = 2 * time.Minute

	// statusGap is the least time between two compressions of a list.
	statusGap = time.Second

	listNamesTimeout = 5 * time.Second
)

// StatusLists makes the signed status lists (draft-ietf-oauth-status-list), one
// bit for each place. Subscribe it to the changes: a revoked place reads 1 until
// the tokens at it have expired. It keeps 128 KiB for each list in which
// something is revoked, and nothing for the others but their last document.
//
// A list is compressed when somebody asks for it and it has changed since, and
// signed when it was compressed or is half its TTL old, however many ask.
//
// Signer, Issuer, Index, Lists and Now are required.
type StatusLists struct {
	Signer Signer
	Issuer string
	// Index is the permutation of a list: it returns, for the n-th place, an index
	// below StatusListPlaces. It answers from memory.
	Index func(list string) func(position uint32) uint32
	// Lists returns the lists that a living token may name: PlaceStore.StatusLists.
	Lists func(context.Context) ([]StatusList, error)
	Now   func() time.Time
	// Fresh, where set, reports whether the changes heard are to be believed;
	// while it does not, no list is signed.
	Fresh   func() bool
	TTL     time.Duration            // whole seconds; DefaultStatusListTTL where zero
	Observe func(took time.Duration) // where set, hears of each list that was compressed and signed

	mu     sync.Mutex
	lists  map[string]*listState
	keys   uint64 // counts Forget
	names  listNames
	packer packer
}

// listState is one list. Its places are guarded by StatusLists.mu, its document
// by its own mutex.
type listState struct {
	places revokedPlaces

	mu     sync.Mutex
	lst    string // the places compressed, as they were at version packed
	packed uint64
	at     time.Time // when they were compressed
	latest StatusDocument
	signed statusEdition
	renew  time.Time // when latest must be signed anew in any case
}

// statusEdition is what a document says: the version of the places, and how many
// times what was signed had been forgotten.
type statusEdition struct{ places, keys uint64 }

// StatusDocument is a status list as it is served.
type StatusDocument struct {
	Body     []byte    // the compact JWS
	ETag     string    // quoted, as the header has it
	IssuedAt time.Time // whole seconds
	// MaxAge is how long a cache between us and the reader may keep the document:
	// never beyond the moment at which it is signed anew.
	MaxAge time.Duration
}

var _ changes.Subscriber = (*StatusLists)(nil)

// StatusListURI is the address of a list: its sub, and the uri of the tokens
// that have a place in it.
func StatusListURI(issuer, list string) string { return issuer + StatusListPath + "/" + list }

// Hear implements changes.Subscriber.
func (s *StatusLists) Hear(cs []changes.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range cs {
		if c.Kind == changes.StatusRevoked {
			s.revoke(c)
		}
	}
}

func (s *StatusLists) revoke(c changes.Change) {
	r, err := ParsePlaceRange(c.Key)
	if err != nil || r.Count > StatusListPlaces || r.Position > StatusListPlaces-r.Count || len(r.List) > maxListID {
		return // no token has such a place
	}
	s.list(r.List).places.add(placeSpan{r.Position, r.Count}, c.Until.Add(statusMargin).UnixMicro())
}

// Forget implements changes.Subscriber: what was signed is signed anew, as it
// must be when another key signs. A revocation is never forgotten before its time.
func (s *StatusLists) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys++
}

// list returns the list of that id, which is made where it is new. It is called
// under s.mu.
func (s *StatusLists) list(id string) *listState {
	l := s.lists[id]
	if l == nil {
		if s.lists == nil {
			s.lists = map[string]*listState{}
		}
		l = &listState{places: revokedPlaces{index: s.Index(id)}}
		s.lists[id] = l
	}
	return l
}

// Document returns the list of that id as of now. It fails with fault.NotFound
// where there is no such list, with fault.Unavailable while the changes heard
// are not to be believed or the store does not answer, and where signing fails.
func (s *StatusLists) Document(ctx context.Context, id string) (StatusDocument, error) {
	if err := s.believed(); err != nil {
		return StatusDocument{}, err
	}
	switch known, err := s.names.has(ctx, s.Lists, id); {
	case err != nil:
		return StatusDocument{}, fmt.Errorf("look up status list: %w", err)
	case !known:
		return StatusDocument{}, fault.New(fault.NotFound, "There is no such status list.")
	}
	s.mu.Lock()
	l := s.list(id)
	s.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	now := s.Now()
	at := s.snapshot(l, now)
	if at.stale {
		if err := s.make(ctx, l, id, at); err != nil {
			return StatusDocument{}, fmt.Errorf("sign status list: %w", err)
		}
	}
	d := l.latest
	if l.signed == at.edition {
		d.MaxAge = max(l.renew.Sub(now).Truncate(time.Second), 0)
	}
	return d, nil
}

// URIs returns the addresses of all lists that a living token may name, in
// order (draft-ietf-oauth-status-list §9.3).
func (s *StatusLists) URIs(ctx context.Context) ([]string, error) {
	ids, err := s.names.all(ctx, s.Lists)
	if err != nil {
		return nil, fmt.Errorf("list status lists: %w", err)
	}
	s.drop(ids)
	for i, id := range ids {
		ids[i] = StatusListURI(s.Issuer, id)
	}
	return ids, nil
}

// StatusCount is how much the status lists say.
type StatusCount struct {
	Lists   int // that hold something in memory
	Revoked int // places
}

// Count counts.
func (s *StatusLists) Count() StatusCount {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := StatusCount{Lists: len(s.lists)}
	for _, l := range s.lists {
		c.Revoked += l.places.set
	}
	return c
}

// MaxAge is how long the list of lists may be kept.
func (s *StatusLists) MaxAge() time.Duration { return s.ttl() / 2 }

func (s *StatusLists) ttl() time.Duration { return orElse(s.TTL, DefaultStatusListTTL) }

func (s *StatusLists) believed() error {
	if s.Fresh != nil && !s.Fresh() {
		return fault.New(fault.Unavailable, "Status lists cannot be told at the moment.")
	}
	return nil
}

// drop forgets lists that no living token names, once nothing in them is revoked.
func (s *StatusLists) drop(ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, l := range s.lists {
		l.places.expire(s.Now().UnixMicro())
		if l.places.set == 0 && !slices.Contains(ids, id) {
			delete(s.lists, id)
		}
	}
}

// snapshot is a list at a moment.
type snapshot struct {
	now     time.Time
	edition statusEdition
	stale   bool   // the latest document will not do
	bits    []byte // of a stale one that must be compressed anew; nil where none is set
}

// snapshot looks at a list whose mutex is held. A list that changes all the time
// is made once in statusGap: whoever reads the older document knows its iat.
func (s *StatusLists) snapshot(l *listState, now time.Time) snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &l.places
	at := snapshot{now: now, edition: statusEdition{p.version, s.keys}}
	changed := l.signed.keys != s.keys || l.signed.places != p.version && (l.packed == p.version || now.Sub(l.at) >= statusGap)
	if at.stale = l.latest.Body == nil || changed || now.Before(l.latest.IssuedAt) || !now.Before(l.renew); !at.stale {
		return at
	}
	p.expire(now.UnixMicro())
	if at.edition.places = p.version; l.lst == "" || l.packed != p.version {
		at.bits = slices.Clone(p.bits)
	}
	return at
}

// make signs the list, which it compresses first where it has changed.
func (s *StatusLists) make(ctx context.Context, l *listState, id string, at snapshot) error {
	if l.lst == "" || l.packed != at.edition.places {
		lst, err := s.packer.pack(at.bits)
		if err != nil {
			return err
		}
		l.lst, l.packed, l.at = lst, at.edition.places, at.now
	}
	ttl := s.ttl()
	payload, err := json.Marshal(statusPayload{
		Issuer: s.Issuer, Subject: StatusListURI(s.Issuer, id), IssuedAt: at.now.Unix(), ExpiresAt: at.now.Add(StatusListLives * ttl).Unix(),
		TTL: int64(ttl / time.Second), List: statusBits{Bits: 1, List: l.lst},
	})
	if err != nil {
		return err
	}
	jws, err := s.Signer.Sign(ctx, payload, StatusListType)
	if err != nil {
		return err
	}
	l.latest = StatusDocument{Body: []byte(jws), ETag: `"` + digest([]byte(jws)) + `"`, IssuedAt: time.Unix(at.now.Unix(), 0).UTC()}
	l.signed, l.renew = at.edition, at.now.Add(ttl/2)
	if s.Observe != nil {
		s.Observe(s.Now().Sub(at.now))
	}
	return nil
}

// statusPayload is the claims set of a Status List Token (§5.1).
type statusPayload struct {
	Issuer    string     `json:"iss"`
	Subject   string     `json:"sub"`
	IssuedAt  int64      `json:"iat"`
	ExpiresAt int64      `json:"exp"`
	TTL       int64      `json:"ttl"` // seconds
	List      statusBits `json:"status_list"`
}

type statusBits struct {
	Bits int    `json:"bits"`
	List string `json:"lst"`
}
