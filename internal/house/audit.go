package house

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/audit/outputs"
)

// Audit says what is recorded, what happens where that fails, and who else is
// told.
type Audit struct {
	Routine   string   // hourly or each: ordinary refreshes, uses of API keys, tokens of clients
	OnFailure string   // block or degrade: what happens to that which cannot be recorded
	Outputs   []string // where the log is sent, see outputs.ParseTarget
	Keep      AuditKeep
}

// AuditKeep says how long events are kept, by their class; 0 is for ever.
type AuditKeep struct{ Routine, Security, Administration time.Duration }

func (k AuditKeep) check(f *findings) {
	for _, s := range []span{{key: "audit_keep_routine", value: k.Routine}, {key: "audit_keep_security", value: k.Security}, {key: "audit_keep_administration", value: k.Administration}} {
		if s.value != 0 {
			s.min, s.max = 24*time.Hour, 100*365*24*time.Hour
			s.check(f)
		}
	}
}

// Process is what the receivers of the audit log are told of this process.
type Process struct {
	Host   string
	PID    int
	Stdout io.Writer // of the output stdout:; nowhere where nil
}

// The choices.
const (
	RoutineHourly    = "hourly"
	RoutineEach      = "each"
	OnFailureBlock   = "block"
	OnFailureDegrade = "degrade"
)

func defaultAudit() Audit {
	return Audit{
		Routine: RoutineHourly, OnFailure: OnFailureBlock,
		Keep: AuditKeep{Routine: 90 * 24 * time.Hour, Security: 400 * 24 * time.Hour, Administration: 400 * 24 * time.Hour},
	}
}

func (a Audit) check(f *findings) {
	if a.Routine != RoutineHourly && a.Routine != RoutineEach {
		f.mistake("audit_routine", fmt.Sprintf("%q", a.Routine), "hourly for the first use in an hour, or each for every one")
	}
	if a.OnFailure != OnFailureBlock && a.OnFailure != OnFailureDegrade {
		f.mistake("audit_on_failure", fmt.Sprintf("%q", a.OnFailure), "block, or degrade where going on matters more than the record of it")
	}
	a.Keep.check(f)
	var names []string
	for _, text := range a.Outputs {
		t, err := outputs.ParseTarget(text)
		switch {
		case err != nil:
			f.mistake("audit_outputs", err.Error(), "such as stdout:, file:///var/log/tokenhouse/audit.ndjson or syslog+tls://siem.example:6514")
		case slices.Contains(names, t.Name):
			f.mistake("audit_outputs", fmt.Sprintf("two outputs are called %q", t.Name), "a name=… of its own for each")
		}
		names = append(names, t.Name)
	}
}

// unrecorded writes to the log of the process what could not be written to the
// audit log; it is nil where nothing is then done at all.
func (h *House) unrecorded() func(context.Context, []audit.Event, error) {
	if h.conf.Audit.OnFailure != OnFailureDegrade {
		return nil
	}
	return func(ctx context.Context, events []audit.Event, why error) {
		for _, e := range events {
			line, _ := json.Marshal(audit.LineOf(e)) // texts and maps of them: cannot fail
			h.env.Logger.ErrorContext(ctx, "an audit event could not be recorded; what it tells of was done", "err", why, "event", string(line))
		}
	}
}
