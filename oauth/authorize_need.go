package oauth

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// need is what a request still needs before it is answered: nothing where
// asked is empty.
type need struct {
	asked   Asked
	reason  string      // of AskLogin, where somebody is logged in
	org     ident.OrgID // in which the user acts, once it is known who that is
	consent Consent     // what the user allowed before
}

// need decides what is to be asked next. Where nothing may be asked it refuses
// (OpenID Connect Core 1.0 §3.1.2.6).
func (q *authorizing) need(ctx context.Context) (need, error) {
	n := q.needsUser()
	if n.asked == "" {
		var err error
		if n, err = q.needsConsent(ctx); err != nil {
			return n, err
		}
	}
	if n.asked == "" || !q.prompts(promptNone) {
		return n, nil
	}
	switch n.asked {
	case AskConsent:
		return n, refuse("consent_required", "The user has not allowed this yet.")
	case AskAccount:
		return n, refuse("account_selection_required", "The user must choose an account.")
	default:
		return n, refuse("login_required", "The user must log in.")
	}
}

// needsUser decides whether somebody must log in, or choose. It is a function
// of the request and the session alone.
func (q *authorizing) needsUser() need {
	s, w := q.visit.Session, q.wants
	// Who logged in after the request came has proved all that it wants.
	fresh := !s.AuthenticatedAt.Before(q.aside.created())
	switch {
	case s.User == "":
		return need{asked: AskLogin}
	case q.prompts(promptLogin) && !fresh:
		return need{asked: AskLogin, reason: "prompt"}
	case w.maxAge != nil && !fresh && olderThan(s, *w.maxAge, q.now):
		return need{asked: AskLogin, reason: "max_age"}
	case w.subject != "" && q.Subjects.Sub(q.client, s.User) != w.subject:
		return need{asked: AskLogin, reason: "id_token_hint"}
	case q.prompts(promptSelectAccount) && !fresh && q.aside.Chosen != s.User:
		return need{asked: AskAccount}
	default:
		return need{}
	}
}

// olderThan reports whether the login is more than so many seconds ago, as the
// client will compute it: auth_time has whole seconds.
func olderThan(s tokens.Family, seconds int64, now time.Time) bool {
	return now.Sub(s.AuthenticatedAt.Truncate(time.Second)) > time.Duration(seconds)*time.Second
}

// needsConsent finds out whether the user may enter, and allowed it all before.
func (q *authorizing) needsConsent(ctx context.Context) (need, error) {
	n := need{org: q.org()}
	standing, err := q.Directory.Standing(ctx, q.visit.Session.User, n.org)
	switch {
	case err != nil:
		return n, err
	case !standing.Active:
		return n, q.deny(ctx, standing.Reason)
	case q.client.Settings.SkipConsent && !q.prompts(promptConsent):
		return n, nil
	}
	n.consent, err = q.Store.Consent(ctx, q.visit.Session.User, q.client.ID)
	if err != nil && !errors.Is(err, fault.NotFound) {
		return n, err
	}
	if q.prompts(promptConsent) || !q.wants.allow.Within(n.consent.Scopes) {
		n.asked = AskConsent
	}
	return n, nil
}

// org is where the user acts: in the client's organisation, of which they must
// be a member, unless the client is for everyone.
func (q *authorizing) org() ident.OrgID {
	if q.client.Settings.OpenTo == OpenToEveryone {
		return q.visit.Session.Org
	}
	return q.client.Org
}

// question puts the request aside and says what a page asks for it.
func (q *authorizing) question(ctx context.Context, n need) (Question, error) {
	who, err := q.person(ctx)
	if err != nil {
		return Question{}, err
	}
	put := q.aside
	put.Asked, put.Account = "", ""
	ask := Question{Asked: n.asked, Client: q.client, RedirectURI: q.to.RedirectURI, User: who, LoginHint: q.params["login_hint"], Reason: n.reason}
	switch n.asked {
	case AskConsent:
		put.Asked = who.ID
		ask.Scopes = q.wants.allow
		for _, s := range q.wants.allow {
			if n.consent.Scopes.Has(s) {
				ask.Remember = append(ask.Remember, s)
			}
		}
	case AskAccount:
		put.Account = who.ID
	}
	ask.LoginHint = cmp.Or(ask.LoginHint, who.Email)
	ask.Pending, err = q.seal(put)
	return ask, err
}
