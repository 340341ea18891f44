package tokens

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

func stoppedAt(t *time.Time) func() time.Time { return func() time.Time { return *t } }

func TestRevocationsRefuseWhatTheyName(t *testing.T) {
	now := noon
	r := &Revocations{Now: stoppedAt(&now)}
	if _, yes := r.Refuses(AccessID{Token: "tok_1", Session: "sess_1", User: "user_1", IssuedAt: noon}); yes {
		t.Error("an empty set refuses")
	}
	until := noon.Add(time.Hour)
	all := []changes.Change{
		{Kind: changes.TokenRevoked, Key: "tok_1", At: noon, Until: until},
		{Kind: changes.SessionRevoked, Key: "sess_1", At: noon, Until: until},
		{Kind: changes.SubjectCutoff, Key: "user_1", At: noon, Until: until},
		{Kind: changes.APIKey, Key: "key_1", At: noon},
	}
	r.Hear(all)
	r.Hear(all) // a feed may tell twice
	r.Forget()  // and may have lost its place
	tests := []struct {
		name string
		jti  ident.TokenID
		sid  ident.SessionID
		sub  ident.UserID
		iat  time.Time
		want bool
	}{
		{"the token", "tok_1", "sess_9", "user_9", noon, true},
		{"the session", "tok_9", "sess_1", "user_9", noon.Add(time.Second), true},
		{"the user, issued before", "tok_9", "sess_9", "user_1", noon.Add(-time.Second), true},
		{"the user, issued at that moment", "tok_9", "sess_9", "user_1", noon, true},
		{"the user, issued after", "tok_9", "sess_9", "user_1", noon.Add(time.Second), false},
		{"others", "tok_9", "sess_9", "user_9", noon.Add(-time.Hour), false},
		{"no session at all", "tok_9", "", "user_9", noon, false},
		{"a name of another kind", "sess_1", "tok_1", "tok_1", noon, false},
	}
	for _, tt := range tests {
		reason, yes := r.Refuses(AccessID{Token: tt.jti, Session: tt.sid, User: tt.sub, IssuedAt: tt.iat})
		if yes != tt.want || yes != (reason == "revoked") {
			t.Errorf("%s: %v %q, want %v", tt.name, yes, reason, tt.want)
		}
	}
	if got, ok := r.Cutoff("user_1"); !ok || !got.Equal(noon) {
		t.Errorf("Cutoff = %v, %v", got, ok)
	}
	if _, ok := r.Cutoff("user_9"); ok {
		t.Error("a user nobody cut off has a cutoff")
	}
	if got := r.Entries(noon); len(got) != 3 || got[0] != all[1] || got[1] != all[2] || got[2] != all[0] {
		t.Errorf("entries = %v", got)
	}
	if got := r.Entries(until); len(got) != 0 {
		t.Errorf("an entry outlives its tokens: %v", got)
	}
}

func TestALaterCutoffProlongsAnEarlierOneAndNeverShortensIt(t *testing.T) {
	now := noon
	r := &Revocations{Now: stoppedAt(&now)}
	cut := func(at time.Time) changes.Change {
		return changes.Change{Kind: changes.SubjectCutoff, Key: "user_1", At: at, Until: at.Add(time.Hour)}
	}
	r.Hear([]changes.Change{cut(noon)})
	r.Hear([]changes.Change{cut(noon.Add(30 * time.Minute))})
	r.Hear([]changes.Change{cut(noon.Add(-time.Minute))})
	now = noon.Add(61 * time.Minute) // the first one's end has passed
	r.Hear(nil)
	if got, ok := r.Cutoff("user_1"); !ok || !got.Equal(noon.Add(30*time.Minute)) {
		t.Errorf("cutoff = %v, %v; want the latest", got, ok)
	}
	now = noon.Add(91 * time.Minute)
	r.Hear(nil)
	if r.Len() != 0 || len(r.ends) != 0 {
		t.Errorf("%d entries and %d endings are left", r.Len(), len(r.ends))
	}
}

// SEC-DOS-11: entries leave with their tokens, a few at a time, so that a long
// list is never walked while somebody waits.
func TestEntriesLeaveAsFastAsTheyCome(t *testing.T) {
	now := noon
	r := &Revocations{Now: stoppedAt(&now)}
	hear := func(n int) {
		cs := make([]changes.Change, n)
		for i := range cs {
			cs[i] = changes.Change{Kind: changes.SessionRevoked, Key: fmt.Sprint(now.UnixNano(), "/", i), At: now, Until: now.Add(time.Hour)}
		}
		r.Hear(cs)
	}
	peak := 0
	for range 600 { // ten hours
		hear(100)
		peak = max(peak, r.Len())
		now = now.Add(time.Minute)
	}
	if peak > 61*100 {
		t.Errorf("%d entries at most, want no more than an hour of them", peak)
	}
	now = now.Add(2 * time.Hour)
	before := r.Len()
	hear(1)
	if dropped := before + 1 - r.Len(); dropped != 18 {
		t.Errorf("one announcement dropped %d entries, want a bounded number: 18", dropped)
	}
}

func TestRevocationsServeReadersWhileTheyHear(t *testing.T) {
	r := &Revocations{Now: func() time.Time { return noon }}
	var readers sync.WaitGroup
	for i := range 4 {
		readers.Go(func() {
			for j := range 200 {
				r.Refuses(AccessID{Token: "tok_1", Session: ident.SessionID(fmt.Sprint(i, j)), User: "user_1", IssuedAt: noon})
			}
		})
	}
	for i := range 200 {
		r.Hear([]changes.Change{{Kind: changes.SessionRevoked, Key: fmt.Sprint(i), At: noon, Until: noon.Add(time.Hour)}})
		if _, yes := r.Refuses(AccessID{Token: "", Session: ident.SessionID(fmt.Sprint(i)), User: "", IssuedAt: noon}); !yes {
			t.Fatal("INV-02: heard, and not refused")
		}
	}
	readers.Wait()
}

func numbered(i int) string { return "sess_" + strconv.Itoa(1e9+i) }

// millionLogouts is a set of 10^6 revocations.
func millionLogouts() *Revocations {
	r := &Revocations{Now: func() time.Time { return noon }}
	cs := make([]changes.Change, 1_000_000)
	for i := range cs {
		cs[i] = changes.Change{Kind: changes.SessionRevoked, Key: numbered(i), At: noon, Until: noon.Add(time.Duration(i) * time.Microsecond)}
	}
	r.Hear(cs)
	return r
}

// SEC-DOS-11: 10^6 logouts, and a question costs less than 5 µs.
func TestAMillionLogoutsDoNotSlowVerificationDown(t *testing.T) {
	r := millionLogouts()
	const questions = 100_000
	sids := make([]ident.SessionID, questions)
	for i := range sids {
		sids[i] = ident.SessionID(numbered(i * 20)) // every second one is in the set
	}
	var refused int
	fastest := time.Hour // the other batches waited for other processes
	for batch := range slices.Chunk(sids, 500) {
		before := time.Now()
		for _, sid := range batch {
			if _, yes := r.Refuses(AccessID{Token: "tok_00000000000000000000000001", Session: sid, User: "user_0000000000000000000000001", IssuedAt: noon}); yes {
				refused++
			}
		}
		fastest = min(fastest, time.Since(before)/time.Duration(len(batch)))
	}
	if fastest > 5*time.Microsecond {
		t.Errorf("a question takes %s", fastest)
	}
	if refused != 50_000 {
		t.Errorf("%d refused, want the 50000 in the set", refused)
	}
}

func BenchmarkRefuses(b *testing.B) {
	r := millionLogouts()
	for b.Loop() {
		r.Refuses(AccessID{Token: "tok_00000000000000000000000001", Session: "sess_x0000000000000000000000001", User: "user_0000000000000000000000001", IssuedAt: noon})
	}
}
