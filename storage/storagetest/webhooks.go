package storagetest

import (
	"crypto/rand"
	"errors"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/audit/webhooks"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// hooked adds an organisation with one endpoint, made at the given time.
func hooked(t *testing.T, f *fixture, slug string) webhooks.Endpoint {
	t.Helper()
	o := f.org(slug)
	f.add(t, nil, []accounts.Org{o})
	return f.hook(t, o.ID)
}

func (f *fixture) hook(t *testing.T, org ident.OrgID) webhooks.Endpoint {
	t.Helper()
	e := webhooks.Endpoint{
		ID: ident.NewWebhookID(f.now, rand.Reader), Org: org, URL: "https://hooks.example/x", Description: "for a test", Patterns: []string{"login.*", "org.updated"},
		Status: webhooks.Active, CreatedAt: f.now, CreatedBy: "operator",
		Secrets:  []webhooks.Secret{{N: 2, Sealed: []byte("two"), CreatedAt: f.now}, {N: 1, Sealed: []byte("one"), CreatedAt: f.now, ValidUntil: f.now.Add(time.Hour)}},
		Progress: webhooks.Progress{DueAt: f.now},
	}
	f.inHooks(t, func(tx webhooks.Tx) error { return tx.InsertWebhook(e) })
	return e
}

func (f *fixture) inHooks(t *testing.T, fn func(webhooks.Tx) error) {
	t.Helper()
	if err := f.Webhooks().InWebhookTx(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// webhookKeeping: what is stored is read, by its own organisation alone, and what
// is deleted is gone with all that belongs to it.
func webhookKeeping(t *testing.T, f *fixture) {
	mine, other := hooked(t, f, "mine"), hooked(t, f, "other")
	second := f.hook(t, mine.Org)
	here, there := ident.OperatorOf(mine.Org, nil).Tenant(), ident.OperatorOf(other.Org, nil).Tenant()
	got, err := f.Webhooks().Webhook(t.Context(), here, mine.ID)
	if err != nil || !reflect.DeepEqual(got.Endpoint, mine) {
		t.Errorf("read %+v, %v; want %+v", got, err, mine)
	}
	if _, err := f.Webhooks().Webhook(t.Context(), there, mine.ID); !errors.Is(err, fault.NotFound) {
		t.Errorf("another organisation reads it: %v", err)
	}
	err = f.Webhooks().InWebhookTx(t.Context(), func(tx webhooks.Tx) error { _, err := tx.LockWebhook(there, mine.ID); return err })
	if !errors.Is(err, fault.NotFound) {
		t.Errorf("another organisation locks it: %v", err)
	}
	var seen []ident.WebhookID
	for before := ""; ; before = string(seen[len(seen)-1]) {
		page, err := f.Webhooks().Webhooks(t.Context(), here, ident.Page{Limit: 1, Before: before})
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		seen = append(seen, page[0].ID)
	}
	want := []ident.WebhookID{mine.ID, second.ID}
	slices.Sort(want)
	if slices.Reverse(want); !slices.Equal(seen, want) {
		t.Errorf("listed %v, want %v", seen, want)
	}
	mine.URL, mine.Status, mine.Cause, mine.Patterns, mine.Progress.Attempts = "https://hooks.example/y", webhooks.Disabled, webhooks.ByHand, []string{"*"}, 3
	mine.Secrets = mine.Secrets[:1]
	f.inHooks(t, func(tx webhooks.Tx) error {
		if n, err := tx.CountWebhooks(here); n != 2 || err != nil {
			t.Errorf("counted %d, %v", n, err)
		}
		return errors.Join(tx.UpdateWebhook(mine), tx.PutWebhookSecrets(mine.ID, mine.Secrets))
	})
	mine.Version++
	if got, err := f.Webhooks().Webhook(t.Context(), here, mine.ID); err != nil || !reflect.DeepEqual(got.Endpoint, mine) {
		t.Errorf("read %+v, %v; want %+v", got, err, mine)
	}
}

// webhookDeadLetters: they are the organisation's own, and go by age and with their
// endpoint.
func webhookDeadLetters(t *testing.T, f *fixture) {
	second, other := hooked(t, f, "mine"), hooked(t, f, "other")
	here, there := ident.OperatorOf(second.Org, nil).Tenant(), ident.OperatorOf(other.Org, nil).Tenant()
	letter := webhooks.DeadLetter{Position: 7, Event: "evt_1", Name: "login.failed", Attempts: 13, Last: webhooks.Failure{At: f.now, Reason: webhooks.BadStatus, Status: 500}}
	if saved, err := f.WebhookQueue().SaveWebhook(t.Context(), second, webhooks.Outcome{Progress: second.Progress, Dead: []webhooks.DeadLetter{letter}}); err != nil || !saved {
		t.Errorf("saved: %v, %v", saved, err)
	}
	letters := func(tenant ident.Tenant) []webhooks.DeadLetter {
		found, err := f.Webhooks().DeadLetters(t.Context(), tenant, second.ID, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if a, b := letters(here), letters(there); !reflect.DeepEqual(a, []webhooks.DeadLetter{letter}) || len(b) != 0 {
		t.Errorf("dead letters: %+v, of another organisation %+v", a, b)
	}
	if n, err := f.WebhookQueue().PruneDeadLetters(t.Context(), f.now.Add(time.Second), 10); n != 1 || err != nil {
		t.Errorf("%d are pruned, %v", n, err)
	}
	f.inHooks(t, func(tx webhooks.Tx) error { return tx.DeleteWebhook(second.ID) })
	if there, err := f.Webhooks().WebhookExists(t.Context(), second.ID); there || err != nil {
		t.Errorf("deleted, and there: %v, %v", there, err)
	}
}

// webhookTurns: an endpoint is due where its organisation's chain has gone on; of
// many who want it one has it, and only who has it writes down what came of it.
func webhookTurns(t *testing.T, f *fixture) {
	e := hooked(t, f, "acme")
	idle := hooked(t, f, "idle")
	q := f.WebhookQueue()
	due := func(now time.Time) (out []ident.WebhookID) {
		found, err := q.DueWebhooks(t.Context(), now, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range found {
			out = append(out, d.ID)
		}
		return out
	}
	if got := due(f.now); got != nil {
		t.Errorf("due without an event: %v", got)
	}
	if err := f.Recorder().RecordAll(t.Context(), audit.Event{Time: f.now, Name: audit.LoginFailed, Org: e.Org}); err != nil {
		t.Fatal(err)
	}
	f.seal(t)
	if got := due(f.now); !slices.Equal(got, []ident.WebhookID{e.ID}) || due(f.now.Add(-time.Second)) != nil {
		t.Errorf("due: %v, and not %v", got, idle.ID)
	}
	until := f.now.Add(time.Minute)
	var won atomic.Int64
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if mine, err := q.ClaimWebhook(t.Context(), e, until); err != nil {
				t.Error(err)
			} else if mine {
				won.Add(1)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 || due(f.now) != nil || due(until) == nil {
		t.Errorf("%d of 20 claimed it; due %v, after the lease %v", won.Load(), due(f.now), due(until))
	}
	f.savingTurns(t, e)
}

// savingTurns goes on with an endpoint that was claimed as e.
func (f *fixture) savingTurns(t *testing.T, e webhooks.Endpoint) {
	t.Helper()
	q, until := f.WebhookQueue(), f.now.Add(time.Minute)
	due := func() bool {
		found, err := q.DueWebhooks(t.Context(), f.now, 10)
		return err == nil && len(found) == 1
	}
	o := webhooks.Outcome{Progress: webhooks.Progress{Position: 1, DueAt: f.now}, Events: []audit.Event{{Time: f.now, Name: audit.WebhookDisabled, Org: e.Org}}}
	save := func(e webhooks.Endpoint, want bool) {
		t.Helper()
		before := len(f.committed())
		saved, err := q.SaveWebhook(t.Context(), e, o)
		if recorded := len(f.committed()) > before; err != nil || saved != want || recorded != want {
			t.Errorf("saved: %v (recorded %v), %v; want %v", saved, recorded, err, want)
		}
	}
	save(e, false) // who never claimed it
	if due() {
		t.Error("a stranger let it go")
	}
	e.Turn++
	f.inHooks(t, func(tx webhooks.Tx) error { return tx.UpdateWebhook(e) })
	save(e, false) // it changed meanwhile: let go, and as it was
	if !due() {
		t.Error("who saw it change kept it")
	}
	e.Version, e.Turn = e.Version+1, e.Turn+1
	if mine, err := q.ClaimWebhook(t.Context(), e, until); err != nil || !mine {
		t.Fatalf("claimed: %v, %v", mine, err)
	}
	e.Turn++
	save(e, true)
	f.inHooks(t, func(tx webhooks.Tx) error {
		found, err := tx.LockWebhook(ident.OperatorOf(e.Org, nil).Tenant(), e.ID)
		if err == nil && (found.Progress.Position != 1 || found.Turn != e.Turn+1) {
			t.Errorf("%+v", found)
		}
		return err
	})
}
