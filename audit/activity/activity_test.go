package activity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// hours keeps what a Service stores, and fails while broken.
type hours struct {
	Store
	broken   error
	kept     []Bucket
	cursor   int64
	log      []Happening // one for each link
	from, to time.Time
}

func (h *hours) ActivityCursor(context.Context) (int64, error) { return h.cursor, h.broken }

func (h *hours) ReadEvents(_ context.Context, _ []string, after int64, limit int) ([]Happening, int64, error) {
	next := min(after+int64(limit), int64(len(h.log)))
	return h.log[after:next], next, h.broken
}

func (h *hours) CountEvents(ctx context.Context, from, to int64, add []Bucket) (bool, error) {
	if from != h.cursor {
		return false, nil
	}
	h.cursor = to
	return true, h.AddActivity(ctx, add)
}

func (h *hours) AddActivity(_ context.Context, add []Bucket) error {
	if h.broken == nil {
		h.kept = Merge(append(h.kept, add...))
	}
	return h.broken
}

func (h *hours) Activity(_ context.Context, _ ident.Tenant, from, to time.Time, _ time.Duration) ([]Bucket, error) {
	h.from, h.to = from, to
	return h.kept, h.broken
}

var noon = time.Date(2026, 3, 4, 12, 34, 56, 0, time.UTC)

func service(h *hours) *Service { return &Service{Store: h, Now: func() time.Time { return noon }} }

func reader() ident.Caller {
	return ident.Caller{Kind: ident.Person, Org: "org_a", Permissions: scope.Of(PermRead)}
}

func TestEventsAreCountedByWhatTheyTell(t *testing.T) {
	hour := noon.Truncate(time.Hour)
	h := &hours{}
	for range readBatch + 1 {
		h.log = append(h.log, Happening{Org: "org_a", Hour: hour, Name: "login.succeeded", Reason: "whatever", Count: 1})
	}
	h.log = append(h.log, Happening{Org: "org_a", Hour: hour, Name: "login.failed", Reason: "wrong_password", Count: 4},
		Happening{Org: "org_a", Hour: hour, Name: "login.refused", Reason: "locked", Count: 2}, Happening{Org: "org_a", Hour: hour, Name: "login.locked", Reason: "pair", Count: 1},
		Happening{Org: "org_a", Hour: hour, Name: "org.updated", Count: 9})
	s := service(h)
	if err := s.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []Bucket{
		{"org_a", hour, Failures, "locked", 2}, {"org_a", hour, Failures, "wrong_password", 4}, {"org_a", hour, Lockouts, "pair", 1}, {"org_a", hour, Logins, "", readBatch + 1},
	}
	if !slices.Equal(h.kept, want) || h.cursor != int64(len(h.log)) {
		t.Errorf("kept %v up to %d, want %v", h.kept, h.cursor, want)
	}
	if err := s.Read(t.Context()); err != nil || !slices.Equal(h.kept, want) {
		t.Errorf("read again: %v, %v", h.kept, err)
	}
}

func TestWhatCannotBeStoredIsCountedLater(t *testing.T) {
	h := &hours{broken: errors.New("no database")}
	s := service(h)
	s.Issued("org_a", "password")
	s.Issued("org_a", "password")
	if err := s.Flush(t.Context()); err == nil || len(h.kept) != 0 {
		t.Fatalf("stored %v, %v", h.kept, err)
	}
	s.Issued("org_a", "refresh_token")
	h.broken = nil
	if err := errors.Join(s.Flush(t.Context()), s.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	hour := noon.Truncate(time.Hour)
	if want := []Bucket{{"org_a", hour, Tokens, "password", 2}, {"org_a", hour, Tokens, "refresh_token", 1}}; !slices.Equal(h.kept, want) {
		t.Errorf("stored %v, want %v", h.kept, want)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	h := &hours{}
	s := service(h)
	for n := range maxTallies + 100 {
		s.Issued(ident.OrgID(fmt.Sprintf("org_%d", n)), "password")
	}
	if n := len(s.tally.counts); n > maxTallies+1 {
		t.Errorf("%d places are kept", n)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if first := h.kept[0]; first.Org != "" || first.Count != 100 {
		t.Errorf("what was too much is %v", first)
	}
}

func TestASeriesEndsWithTheStepUnderWay(t *testing.T) {
	for r, c := range map[Range]struct{ from, to string }{
		Day:   {"2026-03-03T13:00:00Z", "2026-03-04T13:00:00Z"},
		Week:  {"2026-02-25T18:00:00Z", "2026-03-04T18:00:00Z"},
		Month: {"2026-02-03T00:00:00Z", "2026-03-05T00:00:00Z"},
		Year:  {"2025-03-06T00:00:00Z", "2026-03-05T00:00:00Z"}, // weeks that begin on Thursdays, as 1970 did
	} {
		h := &hours{}
		s, err := service(h).Of(t.Context(), reader(), r)
		if err != nil || h.from.Format(time.RFC3339) != c.from || h.to.Format(time.RFC3339) != c.to || !s.From.Equal(h.from) || !s.From.Add(time.Duration(s.Steps)*s.Step).Equal(h.to) {
			t.Errorf("%s: from %s to %s, %v", r, h.from, h.to, err)
		}
	}
	if _, err := service(&hours{}).Of(t.Context(), reader(), "decade"); !errors.Is(err, fault.Invalid) {
		t.Errorf("a range that there is not: %v", err)
	}
	if _, err := service(&hours{}).Of(t.Context(), ident.Caller{Kind: ident.Person, Org: "org_a"}, Day); !errors.Is(err, fault.InsufficientPermissions) {
		t.Errorf("without audit:read: %v", err)
	}
}

func TestLinesAreDenseAndSorted(t *testing.T) {
	hour := noon.Truncate(time.Hour)
	h := &hours{kept: []Bucket{{"org_a", hour, Tokens, "password", 2}, {"org_a", hour.Add(-2 * time.Hour), Tokens, "refresh_token", 5}, {"org_a", hour, Tokens, "refresh_token", 1}, {"org_a", hour, Logins, "", 3}}}
	s, err := service(h).Of(t.Context(), reader(), Day)
	if err != nil {
		t.Fatal(err)
	}
	lines := s.Lines(Tokens)
	if len(lines) != 2 || lines[0].Label != "refresh_token" || lines[0].Total != 6 || lines[0].Counts[21] != 5 || lines[0].Counts[23] != 1 || lines[1].Counts[23] != 2 || len(lines[1].Counts) != 24 {
		t.Errorf("lines: %v", lines)
	}
	if s.Total(Logins) != 3 || s.Total(Lockouts) != 0 {
		t.Errorf("%d logins, %d lockouts", s.Total(Logins), s.Total(Lockouts))
	}
}
