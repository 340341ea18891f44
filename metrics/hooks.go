package metrics

import (
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
)

// unmatched is the route of a request that no route matched.
const unmatched = "unmatched"

// Observe counts committed audit events, and derives from them what happened to
// logins. Call it once for each commit.
func (s *Set) Observe(events []audit.Event) {
	for _, e := range events {
		s.system.events.inc(string(e.Name), string(e.Outcome))
		if shown := e.Meta["proof"]; shown != "" && loginEvents[e.Name] {
			s.credentials.proofs.inc(shown)
		}
		switch e.Name {
		case audit.LoginSucceeded:
			s.credentials.logins.inc(e.Actor.Via, "success")
		case audit.LoginFailed:
			s.credentials.logins.inc(e.Actor.Via, "failure")
		case audit.LoginRefused:
			s.credentials.logins.inc(e.Actor.Via, "refused")
		case audit.LoginLocked:
			s.credentials.lockouts.inc(e.Reason)
		}
	}
}

// loginEvents are those of which each login attempt leaves one.
var loginEvents = map[audit.Name]bool{audit.LoginSucceeded: true, audit.LoginFailed: true, audit.LoginRefused: true}

// ProofUnavailable counts a proof that the provider of captchas did not judge.
func (s *Set) ProofUnavailable() { s.credentials.proofs.inc("unavailable") }

// TokenIssued counts a token that was handed out: by its grant type, and kind
// "access_token", "refresh_token" or "id_token".
func (s *Set) TokenIssued(grant, kind string) { s.credentials.issued.inc(grant, kind) }

// Verified counts a credential that was presented: kind "access_token" or
// "api_key", and the result of verify.Result.
func (s *Set) Verified(kind, result string) { s.credentials.verifications.inc(kind, result) }

// Refreshed counts a refresh token that was presented.
func (s *Set) Refreshed(result string) { s.credentials.refreshes.inc(result) }

// APIKeyVerified counts an API key that was presented.
func (s *Set) APIKeyVerified(result string) { s.credentials.apiKeys.inc(result) }

// LogoutTold counts an attempt to tell a client of a logout, by how it ended.
func (s *Set) LogoutTold(result string) { s.credentials.logouts.inc(result) }

// LockedNow sets how many login counters are locked, by scope.
func (s *Set) LockedNow(scopes map[string]int) { s.credentials.lockedNow.replace(scopes) }

// RotationDue sets how many API keys are older than the rotation interval.
func (s *Set) RotationDue(keys int) { s.credentials.rotationDue.Set(float64(keys)) }

// Expiring sets how many API keys expire within two weeks.
func (s *Set) Expiring(keys int) { s.credentials.expiring.Set(float64(keys)) }

// Hashing adds to the number of password hashes being computed: +1 and -1.
func (s *Set) Hashing(delta int) { s.credentials.hash.inflight.Add(float64(delta)) }

// HashWaited records how long a password waited for its place.
func (s *Set) HashWaited(d time.Duration) { s.credentials.hash.wait.Observe(seconds(d)) }

// HashRefused counts a password that found the pool full.
func (s *Set) HashRefused() { s.credentials.hash.refused.Inc() }

// Propagated records how long a revocation took to arrive at this replica.
func (s *Set) Propagated(lag time.Duration) { s.credentials.propagation.Observe(seconds(lag)) }

// Confirmed records how long somebody waited until every replica had heard, and
// whether all of them had.
func (s *Set) Confirmed(took time.Duration, complete bool) {
	result := "complete"
	if !complete {
		result = "incomplete"
	}
	s.credentials.confirmations.observe(max(took, 0), result)
}

// APIKeyLeaked counts a key that was reported as leaked.
func (s *Set) APIKeyLeaked(result string) { s.credentials.leaked.inc(result) }

// AuditWriteFailed counts audit events that could not be written.
func (s *Set) AuditWriteFailed(events int) { s.system.auditFailures.Add(float64(max(events, 0))) }

// StorageOperation records one operation of the database: "read" or "transaction".
func (s *Set) StorageOperation(operation string, err error, took time.Duration) {
	s.system.storage.observe(max(took, 0), operation, resultOf(err))
}

// Request records an HTTP request by the template of its route, which is empty
// where none matched.
func (s *Set) Request(route, method string, status int, took time.Duration) {
	if route == "" {
		route = unmatched
	}
	s.system.requests.observe(max(took, 0), route, method, statusOf(status))
}

// seconds is never negative: the clocks of two replicas differ a little.
func seconds(d time.Duration) float64 { return max(d, 0).Seconds() }
