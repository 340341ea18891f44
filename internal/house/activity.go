package house

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/audit/activity"
	"github.com/tokenhouse/tokenhouse/audit/outputs"
)

// activityEvery is how often it is counted what was added to the audit log.
const activityEvery = 2 * time.Second

// readers are what follows the audit log, but for webhooks.
type readers struct {
	outputs  []*outputs.Output
	activity *activity.Service
}

// Activity tells what happened in organisations by the hour.
func (h *House) Activity() *activity.Service { return h.parts.readers.activity }

// buildActivity makes what counts by the hour.
func (h *House) buildActivity(context.Context) error {
	h.parts.readers.activity = &activity.Service{Store: h.DB.Activity(), Now: h.env.Now}
	return nil
}

// CountActivity counts what has its place in the audit log, and stores what was
// counted in memory.
func (h *House) CountActivity(ctx context.Context) error {
	if err := h.Activity().Read(ctx); err != nil {
		return err
	}
	return h.Activity().Flush(ctx)
}
