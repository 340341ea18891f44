package house

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/tokenhouse/tokenhouse/audit/outputs"
)

// outputsEvery is how often it is looked for events to be sent. They get their
// places in the chain about as often.
const outputsEvery = time.Second

// buildOutputs makes what sends the audit log elsewhere.
func (h *House) buildOutputs(context.Context) error {
	var holder [8]byte
	if _, err := io.ReadFull(h.env.Random, holder[:]); err != nil {
		return fmt.Errorf("outputs of the audit log: %w", err)
	}
	for _, text := range h.conf.Audit.Outputs {
		target, err := outputs.ParseTarget(text)
		if err != nil {
			return fmt.Errorf("audit_outputs: %w", err)
		}
		h.parts.readers.outputs = append(h.parts.readers.outputs, &outputs.Output{
			Target: target, Store: h.DB.Outputs(), Holder: hex.EncodeToString(holder[:]), Version: cmp.Or(h.env.Build.Version, "unknown"),
			Process: outputs.Process{Host: h.env.Process.Host, PID: h.env.Process.PID, Stdout: h.env.Process.Stdout},
			Now:     h.env.Now, Observe: h.Metrics.AuditOutputBehind,
		})
	}
	return nil
}

// SendAudit sends every output what has its place in the chain.
func (h *House) SendAudit(ctx context.Context) error {
	var errs []error
	for _, o := range h.parts.readers.outputs {
		errs = append(errs, o.Deliver(ctx))
	}
	return errors.Join(errs...)
}

// sendAudit does it until ctx ends. No receiver waits for another.
func (h *House) sendAudit(ctx context.Context) {
	var all sync.WaitGroup
	for _, o := range h.parts.readers.outputs {
		all.Go(func() { h.every(ctx, outputsEvery, "the audit log could not be sent", o.Deliver) })
	}
	all.Wait()
}
