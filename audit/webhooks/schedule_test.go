package webhooks

import (
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

func TestRetriesSpreadOverThreeDays(t *testing.T) {
	var total, most time.Duration
	for n := 1; n <= len(retries); n++ {
		wait, again := pause("hook_a", n, 0)
		if !again || wait < retries[n-1] || wait > retries[n-1]*11/10 {
			t.Errorf("after attempt %d: %v, %v", n, wait, again)
		}
		total, most = total+wait, max(most, wait)
	}
	if _, again := pause("hook_a", len(retries)+1, 0); again {
		t.Error("there is an attempt after the last")
	}
	if total < 72*time.Hour || total > GiveUpAfter {
		t.Errorf("an event is tried for %v", total)
	}
	if total+most >= GiveUpAfter {
		t.Errorf("an endpoint is given up after %v, before it could leave a dead letter", GiveUpAfter)
	}
	other, _ := pause("hook_b", 5, 0)
	mine, _ := pause("hook_a", 5, 0)
	if other == mine {
		t.Error("endpoints that failed together come back together")
	}
}

func TestReceiversMayAskForTime(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		header string
		want   time.Duration
	}{
		{"", 0}, {"soon", 0}, {"-5", 0}, {"120", 2 * time.Minute}, {"Fri, 02 Jan 2026 03:14:05 GMT", 10 * time.Minute}, {"99999999999", 0},
	} {
		if got := retryAfter(c.header, now); got != c.want {
			t.Errorf("%q: %v, want %v", c.header, got, c.want)
		}
	}
	for _, c := range []struct{ asked, want time.Duration }{{time.Hour, time.Hour}, {30 * 24 * time.Hour, maxRetryAfter}} {
		if got, _ := pause(ident.WebhookID("hook_a"), 1, c.asked); got != c.want {
			t.Errorf("asked for %v, waits %v", c.asked, got)
		}
	}
	if got, _ := pause("hook_a", 1, -time.Hour); got < retries[0] {
		t.Errorf("who asks for a time that is past is tried after %v", got)
	}
}
