package gormstore

import (
	"errors"
	"slices"

	"gorm.io/gorm"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// errEverything is a programming mistake: an ending that selects nothing in
// particular would end every session there is.
var errEverything = errors.New("gormstore: an ending must name a user, a client or a browser session")

// EndSessions ends the sessions that e selects.
func (t sessionTx) EndSessions(e tokens.Ending) ([]tokens.Family, error) { return t.endSessions(e) }

// EndSessions ends the sessions that e selects and returns how many there were.
func (t *tx) EndSessions(e accounts.Ending) (int, error) {
	ended, err := t.endSessions(tokens.Ending{User: e.User, Org: e.Org, Except: e.Except, Reason: e.Reason, At: e.At, Until: e.Until})
	return len(ended), err
}

// endSessions ends and announces the sessions that e selects, and those that
// depend on them. They are locked in the order of their identifiers, which is
// that of their age: a browser session comes before what it delegates, so that
// two who do this wait in line.
func (t *tx) endSessions(e tokens.Ending) ([]tokens.Family, error) {
	all, err := t.lockSelected(e)
	if err != nil {
		return nil, err
	}
	children, err := t.lockDependents(all, e)
	if err != nil {
		return nil, err
	}
	all = append(all, children...)
	for chunk := range slices.Chunk(all, 500) {
		err := t.g.Exec("UPDATE sessions SET version = version + 1, revoked_at = ?, revoked_reason = ? WHERE id IN ?",
			micros(e.At), e.Reason, idsOf(chunk)).Error
		if err != nil {
			return nil, unavailable(err)
		}
	}
	for _, f := range all {
		c := changes.Change{Kind: changes.SessionRevoked, Key: string(f.ID), At: e.At, Until: e.Until}
		if err := t.Announce(c); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// endable are the sessions that an ending at e may end, locked. Those whose
// last access token has expired need none.
func (t *tx) endable(e tokens.Ending) *gorm.DB {
	q := forUpdate(t.g).Where("revoked_at = 0 AND expires_at > ?", micros(e.At.Add(e.At.Sub(e.Until))))
	if e.Except != "" {
		q = q.Where("id <> ?", string(e.Except))
	}
	return q.Order("id")
}

func (t *tx) lockSelected(e tokens.Ending) ([]tokens.Family, error) {
	q := t.endable(e)
	if e.User == "" && e.Client == "" && e.Browser == "" {
		return nil, errEverything
	}
	if e.User != "" {
		q = q.Where("user_id = ?", string(e.User))
	}
	if e.Client != "" {
		q = q.Where("client_id = ?", string(e.Client))
	}
	if e.Browser != "" {
		q = q.Where(delegatedIn("= ?"), string(e.Browser), false)
	}
	if e.Org != "" {
		q = q.Where("org_id = ?", string(e.Org))
	}
	return families(q)
}

// lockDependents returns what depends on the browser sessions among the
// parents, and is not among them.
func (t *tx) lockDependents(parents []tokens.Family, e tokens.Ending) ([]tokens.Family, error) {
	browsers := slices.DeleteFunc(slices.Clone(parents), func(f tokens.Family) bool { return !f.IsBrowser() })
	var out []tokens.Family
	for chunk := range slices.Chunk(browsers, 500) {
		found, err := families(t.endable(e).Where(delegatedIn("IN ?"), idsOf(chunk), false))
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	known := make(map[ident.SessionID]bool, len(parents))
	for _, f := range parents {
		known[f.ID] = true
	}
	return slices.DeleteFunc(out, func(f tokens.Family) bool { return known[f.ID] }), nil
}

// delegatedIn is the condition on sessions that depend on a browser session.
// The second part is for the index, which holds no others.
func delegatedIn(which string) string {
	return "browser_session_id " + which + " AND browser_session_id <> '' AND offline = ?"
}

func idsOf(fs []tokens.Family) []string {
	out := make([]string, len(fs))
	for i, f := range fs {
		out[i] = string(f.ID)
	}
	return out
}
