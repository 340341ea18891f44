package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/tracing"
)

// readTracing reads OpenTelemetry's own variables, which have no other place:
// whoever operates many services sets them for all alike.
func (s source) readTracing() (tracing.Config, []mistake) {
	conf, problems := tracing.FromEnvironment(s.variable)
	var found []mistake
	for _, p := range problems {
		found = append(found, mistake{Where: p.Variable, Problem: p.Text, Fix: p.Fix, Warning: p.Warning})
	}
	return conf, found
}

// lastSpans is how long the end of the process waits for the collector at most.
const lastSpans = 3 * time.Second

// tracer opens the tracer; close sends what it holds.
func (p *process) tracer(ctx context.Context, conf tracing.Config, log *slog.Logger) (t *tracing.Tracer, end func(), err error) {
	t, err = tracing.Open(ctx, conf, tracing.Options{Version: version, Now: p.Now, Logger: log})
	if err != nil || t == nil {
		return nil, func() {}, err
	}
	return t, func() {
		ctx, cancel := context.WithTimeout(context.Background(), lastSpans)
		defer cancel()
		if err := t.Close(ctx); err != nil {
			log.Warn("the last traces could not be sent", "err", err)
		}
	}, nil
}
