package operations

import (
	"context"
	"net/url"
	"strconv"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

const lockoutsPath = "/console/lockouts"

// lockMeaning says what is locked, and what is not.
var lockMeaning = map[accounts.CounterKind]string{
	accounts.PairCounter:   "The one that the attempts came from",
	accounts.PoolCounter:   "Their own devices still let them in",
	accounts.DeviceCounter: "Others still let them in",
}

func (p Pages) lockouts(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	ask, err := v.Ask()
	if err != nil {
		return shell.Reply{}, err
	}
	before := int64(0)
	if ask.Before != "" {
		if before, err = strconv.ParseInt(ask.Before, 10, 64); err != nil {
			return shell.Reply{}, fault.InvalidCursor
		}
	}
	locks, next, err := p.Lockouts.List(ctx, v.Caller, before, shell.PageSize)
	if err != nil {
		return shell.Reply{}, err
	}
	t := shell.Table{
		Caption: "Who is locked out", Columns: []string{"Person", "What is locked", "Locked", "Ends", "Last attempt from"},
		Empty: shell.Empty{Title: "Nobody is locked out", Text: "After too many wrong passwords a login is locked for some minutes, from where they came. Such people are listed here, and can be unlocked."},
	}
	if before > 0 {
		t.First = lockoutsPath
	}
	if next > 0 {
		t.Next = lockoutsPath + "?" + url.Values{"after": {v.Seal(strconv.FormatInt(next, 10))}}.Encode()
		t.Empty = shell.Empty{Title: "Nobody of these is locked out any more", Text: "There are earlier locks to look at."}
	}
	for _, l := range locks {
		what := shell.Cell{Text: among(lockTexts, string(l.Kind)), Soft: lockMeaning[l.Kind]}
		if l.Places > 1 {
			what.Soft = strconv.Itoa(l.Places) + " of them"
		}
		row := shell.Row{Cells: []shell.Cell{{Text: l.Email, Long: true}, what, shell.When(l.Since, ""), shell.When(l.Until, ""), {Text: addressOf(l.Source), Long: true}}}
		if v.Caller.May(accounts.UsersUpdate) {
			row.Actions = []shell.Link{{Text: "Unlock", To: lockoutsPath + "/" + string(l.User) + "/unlock"}}
		}
		t.Rows = append(t.Rows, row)
	}
	return shell.ShowTable(shell.View{Title: "Lockouts", Lead: "People who cannot sign in at present because of too many wrong passwords. Every lock ends by itself."}, t), nil
}

func (p Pages) askUnlock(_ context.Context, v shell.Visit) (shell.Reply, error) {
	id, err := userID(v)
	if err != nil {
		return shell.Reply{}, err
	}
	f := v.Post(lockoutsPath + "/" + string(id) + "/unlock")
	f.Submit, f.Cancel = "Unlock", lockoutsPath
	return shell.ShowConfirm(shell.Confirm{
		Title: "Unlock this person?", Lead: "They can try to sign in again at once, from everywhere.",
		Effects: []string{"Whoever guesses their password can go on guessing too, until the next lock.", "Their failed attempts are forgotten; the audit log keeps them."},
		Facts:   []shell.Fact{{Label: "Person", Cell: shell.Code(string(id))}}, Form: f, Back: shell.Link{Text: "Lockouts", To: lockoutsPath}, Harmless: true,
	}), nil
}

func (p Pages) unlock(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	id, err := userID(v)
	if err != nil {
		return shell.Reply{}, err
	}
	if err := p.Logins.Unlock(ctx, v.Caller, id); err != nil {
		return shell.Reply{}, err
	}
	return shell.To(lockoutsPath, "The person was unlocked."), nil
}

func userID(v shell.Visit) (ident.UserID, error) {
	id, err := ident.ParseUserID(v.Param("id"))
	if err != nil {
		return "", fault.New(fault.NotFound, "The organisation has no such person.")
	}
	return id, nil
}
