package storagetest

import (
	"crypto/rand"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// desk is the real session service over the fixture's backend and clock, and
// one user of one organisation.
type desk struct {
	*fixture
	service *tokens.Service
	user    accounts.User
	org     accounts.Org

	mu      sync.Mutex
	results map[tokens.Result]int
}

const apiClient ident.ClientID = "cli_api"

var (
	atHome  = ident.Origin{IP: netip.MustParseAddr("192.0.2.10"), UserAgent: "overwatch/1"}
	onTrain = ident.Origin{IP: netip.MustParseAddr("203.0.113.5"), UserAgent: "overwatch/1"}
	aThief  = ident.Origin{IP: netip.MustParseAddr("198.51.100.9"), UserAgent: "curl/8"}
)

// theMAC is a key that never changes.
type theMAC struct{}

func (theMAC) Current() (uint8, []byte)       { return 1, []byte("0123456789abcdef0123456789abcdef") }
func (m theMAC) ByID(id uint8) ([]byte, bool) { _, k := m.Current(); return k, id == 1 }

// browserMAC is another.
type browserMAC struct{}

func (browserMAC) Current() (uint8, []byte) { return 1, []byte("fedcba9876543210fedcba9876543210") }

func (m browserMAC) ByID(id uint8) ([]byte, bool) { _, k := m.Current(); return k, id == 1 }

func newDesk(t *testing.T, f *fixture) *desk {
	t.Helper()
	d := &desk{fixture: f, user: f.user("anna@example.com"), org: f.org("acme"), results: map[tokens.Result]int{}}
	f.populate(t, []accounts.User{d.user}, []accounts.Org{d.org})
	d.service = d.restarted()
	return d
}

// restarted is the service as a new process has it: with nothing in memory.
func (d *desk) restarted() *tokens.Service {
	r := &tokens.Revocations{Now: d.clock}
	d.hear = r.Hear
	return &tokens.Service{
		Store: d.Sessions(), MACs: theMAC{}, BrowserMACs: browserMAC{}, Now: d.clock, Random: rand.Reader, Revocations: r,
		Fresh: func() bool { return true }, Observe: d.count,
	}
}

func (d *desk) clock() time.Time       { return d.now }
func (d *desk) pass(dur time.Duration) { d.now = d.now.Add(dur) }

func (d *desk) count(r tokens.Result) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.results[r]++
}

// open logs the user in as o says and returns the session and its first token.
func (d *desk) open(t testing.TB, o tokens.Opening) (tokens.Family, string) {
	t.Helper()
	o.User, o.Org, o.Client, o.Method = d.user.ID, d.org.ID, apiClient, "password"
	var f tokens.Family
	var token secret.Plain
	err := d.Sessions().InTx(t.Context(), func(tx tokens.Tx) (err error) {
		f, token, err = d.service.Begin(tx, d.now, o)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return f, token.Reveal()
}

// caller is the user with an access token of session id.
func (d *desk) caller(id ident.SessionID) ident.Caller {
	return ident.Caller{Kind: ident.Person, Org: d.org.ID, User: d.user.ID, Session: id, Origin: atHome}
}

// stored is the family as the backend has it.
func (f *fixture) stored(t testing.TB, id ident.SessionID) tokens.Family {
	t.Helper()
	fam, err := f.Sessions().Family(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return fam
}

// told counts the events of a name about a session.
func (d *desk) told(name audit.Name, id ident.SessionID) (n int) {
	d.fixture.mu.Lock()
	defer d.fixture.mu.Unlock()
	for _, e := range d.events {
		if e.Name == name && e.Session == id {
			n++
		}
	}
	return n
}

// holder is somebody with a refresh token.
type holder struct {
	*desk
	testing.TB
	at    ident.Origin
	proof string // what is shown beside the token
	key   string // Idempotency-Key
	id    ident.SessionID
	token string
}

// login opens a family at home.
func (d *desk) login(t testing.TB) *holder {
	t.Helper()
	f, token := d.open(t, tokens.Opening{Origin: atHome, Refreshable: true})
	return &holder{desk: d, TB: t, at: atHome, id: f.ID, token: token}
}

// at returns another holder of the same token.
func (h *holder) copied(o ident.Origin) *holder {
	c := *h
	c.at = o
	return &c
}

// present shows a token.
func (h *holder) present(token string) (tokens.Refreshed, error) {
	return h.service.Refresh(h.Context(), tokens.Presented{Token: token, Client: apiClient, Origin: h.at, Proof: h.proof, RetryKey: h.key})
}

// loses refreshes and never sees the reply, which must have been a token.
func (h *holder) loses() string {
	h.Helper()
	r, err := h.present(h.token)
	if err != nil {
		h.Fatalf("%s after %s: refused: %v", h.at.IP, h.now.Format(time.TimeOnly), err)
	}
	if r.Family.ID != h.id || r.Family.User != h.user.ID || r.Family.Org != h.org.ID {
		h.Errorf("the token of %s was answered for %+v", h.id, r.Family)
	}
	return r.Token.Reveal()
}

// refreshes stores the new token.
func (h *holder) refreshes() {
	h.Helper()
	h.token = h.loses()
}

// refused must get exactly this reason.
func (h *holder) refused(reason string) {
	h.Helper()
	_, err := h.present(h.token)
	if f := fault.Of(err); err == nil || f.Code != fault.InvalidToken || f.Reason != reason {
		h.Errorf("answered %v, want a refusal because of %q", err, reason)
	}
}

// alive: the family was not revoked, and its holder can go on.
func (h *holder) alive() {
	h.Helper()
	if f := h.stored(h.TB, h.id); !f.Ended.At.IsZero() {
		h.Fatalf("an honest client was signed out: %+v", f.Ended)
	}
	h.refreshes()
	h.pass(time.Hour)
	h.refreshes()
}
