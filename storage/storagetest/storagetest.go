// Package storagetest says in tests what the domain packages' stores say in
// comments. Every backend runs Run; nothing else decides whether it conforms.
package storagetest

import (
	"crypto/rand"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/storage"
	"github.com/tokenhouse/tokenhouse/storage/gormstore"
)

// Opener opens an empty, migrated backend.
type Opener func(t *testing.T, opts gormstore.Options) storage.Backend

// suites is every promise, by the store that makes it.
var suites = []struct {
	name string
	run  func(*testing.T, *fixture)
}{
	{"audit", auditLog},
	{"audit outputs", auditOutputs},
	{"audit: what is counted by the hour", activityHours},
	{"audit: looking for what is rare", auditSearch},
	{"lockouts: who is locked out", lockedPeople},
	{"audit: the chain, many at once", chainTogether},
	{"audit: retention", chainRetention},
	{"audit: what the chain has still to do", chainBacklog},
	{"changes", changeLog},
	{"replicas", replicaList},
	{"sealed secrets", sealedSecrets},
	{"signing keys", signingKeys},
	{"API keys: reading", apiKeyReading},
	{"API keys: pages", apiKeyPages},
	{"API keys: writing", apiKeyWriting},
	{"API keys: usage", apiKeyUsage},
	{"API keys: imports", apiKeyImports},
	{"API keys: due for rotation", apiKeysDue},
	{"API keys: selections", apiKeySelections},
	{"API keys: policies", apiKeyPolicies},
	{"API keys: policies at once", apiKeyPolicyTogether},
	{"API keys: notices of expiry", apiKeyNotices},
	{"API keys: families and owners", apiKeyFamilies},
	{"API keys: allowances", apiKeyAllowances},
	{"API keys: use by the hour", apiKeySeries},
	{"clients: reading", clientReading},
	{"clients: of disabled organisations", clientOfDisabled},
	{"clients: pages", clientPages},
	{"clients: writing", clientWriting},
	{"clients: expiry and quotas", clientExpiry},
	{"clients: families of their users", clientFamilies},
	{"client assertions", clientAssertions},
	{"authorization codes", authorizationCodes},
	{"consents", consents},
	{"logouts: queueing", logoutQueueing},
	{"logouts: clients of people who are away", logoutOfTheAbsent},
	{"logouts: delivery", logoutDelivery},
	{"webhooks: keeping", webhookKeeping},
	{"webhooks: dead letters", webhookDeadLetters},
	{"webhooks: turns", webhookTurns},
	{"sessions", sessionStore},
	{"sessions: endings", sessionEndings},
	{"sessions: cleaning up", sessionCleanup},
	{"sessions: list and revoke", sessionService},
	{"sessions: browsers", browserSessions},
	{"sessions: what ends with a browser's", browserEndings},
	{"sessions: delegated, listed", delegatedSessions},
	{"sessions: delegating against an ending", delegatingAgainstEnding},
	{"sessions: delegating against a disabling", delegatingAgainstDisabling},
	{"sessions: random browsers", browsersAtRandom},
	{"places: leases", placeLeases},
	{"places: replicas at once", placesTogether},
	{"places: holders revoked meanwhile", placesOfTheRevoked},
	{"places: what is revoked", placesOfRevocations},
	{"places: sessions revoked meanwhile", placesOvertaken},
	{"refresh: honest clients", refreshHonest},
	{"refresh: thefts", refreshThefts},
	{"refresh: lifetimes and refusals", refreshRefusals},
	{"refresh: 64 at once", refreshTogether},
	{"refresh: against revocation", refreshAgainstRevocation},
	{"refresh: random clients", refreshAtRandom},
	{"users", users},
	{"organisations", organisations},
	{"memberships", memberships},
	{"roles", roles},
	{"service accounts", serviceAccounts},
	{"invitations", invitationKeeping},
	{"invitations: their ends", invitationEnds},
	{"invitations: members", invitationMembers},
	{"invitations: letters", invitationLetters},
	{"set-up", setup},
	{"people at once", peopleAtOnce},
	{"login counters", loginCounters},
	{"login counters under contention", lockedCounters},
	{"exchanges", exchanges},
	{"lock notices: adding", noticeAdding},
	{"lock notices: claims", noticeClaims},
	{"lock notices: delivery", noticeDelivery},
	{"unlock links", unlockLinks},
}

// Run runs every conformance test against backends that open gives.
func Run(t *testing.T, open Opener) {
	for _, s := range suites {
		t.Run(s.name, func(t *testing.T) {
			f := &fixture{now: time.Date(2026, 1, 2, 3, 4, 5, 678_000, time.UTC)}
			f.Backend = open(t, gormstore.Options{OnCommit: f.observe, Random: rand.Reader, Hooks: gormstore.Hooks{Before: f.before}})
			t.Cleanup(func() {
				if err := f.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			s.run(t, f)
		})
	}
}

// fixture is an empty backend, a stopped clock, and what was committed.
type fixture struct {
	storage.Backend
	now time.Time

	mu      sync.Mutex
	events  []audit.Event
	changes []changes.Change
	hear    func([]changes.Change) // where set, hears changes as they commit
	refuse  func() error           // where set, may fail a transaction that is about to commit
}

// before is asked before each statement.
func (f *fixture) before(statement string) error {
	f.mu.Lock()
	refuse := f.refuse
	f.mu.Unlock()
	if refuse == nil || statement != "commit" {
		return nil
	}
	return refuse()
}

func (f *fixture) observe(es []audit.Event, cs []changes.Change) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, es...)
	f.changes = append(f.changes, cs...)
	if f.hear != nil {
		f.hear(cs)
	}
}

// committed returns the names of the events seen so far, in order.
func (f *fixture) committed() []audit.Name {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]audit.Name, len(f.events))
	for i, e := range f.events {
		out[i] = e.Name
	}
	return out
}

// tenant is the proof of an organisation as a caller's credential gives it.
func tenant(org ident.OrgID) ident.Tenant { return ident.Caller{Org: org}.Tenant() }
