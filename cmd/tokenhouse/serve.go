package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/tokenhouse/tokenhouse/internal/house"
)

func (p *process) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: `Runs the server until SIGTERM or Ctrl-C, which finish the requests in flight; a
second one ends it at once. The first start in an empty database makes the first
administrator and tells the credentials, once.

What is meant for you goes to standard output, the log to standard error.`,
		Example: `  tokenhouse serve --demo
  TOKENHOUSE_ISSUER=https://tokens.example.com tokenhouse serve --config /etc/tokenhouse/tokenhouse.yaml`,
		Annotations: map[string]string{"settings": "all"},
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := p.configuration(c)
			if err != nil {
				return err
			}
			return p.serve(c.Context(), conf)
		},
	}
}

// serve runs the server until ctx ends.
func (p *process) serve(ctx context.Context, conf config) error {
	log := conf.Log.logger(p.Stderr)
	// Both listeners first: a port that is taken is told before anything is made.
	public, err := listen(conf.Serve.Listen, house.Starting(), log)
	if err != nil {
		return err
	}
	defer public.close()
	ops, err := listen(conf.Serve.OpsListen, house.Starting(), log)
	if err != nil {
		return err
	}
	defer ops.close()
	failed := make(chan error, 2)
	go func() { failed <- public.serve() }()
	go func() { failed <- ops.serve() }()

	tracer, endTraces, err := p.tracer(ctx, conf.Tracing, log)
	if err != nil {
		return err
	}
	defer endTraces()
	env := p.env(log)
	env.Patient, env.Serving, env.Tracer = true, true, tracer
	env.Process = p.told()
	h, err := house.Open(ctx, conf.House, env)
	if err != nil {
		if ctx.Err() != nil {
			return nil // stopped while waiting for the database
		}
		return err
	}
	first, err := h.FirstRun(ctx)
	if err != nil {
		return errors.Join(err, h.Close())
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() { defer close(ended); h.Run(background) }()

	public.become(h.Handler)
	ops.become(h.Ops)
	fmt.Fprint(p.Stdout, greeting(conf, h.Backend(), first))
	log.Info("ready", "issuer", conf.House.Issuer, "listen", public.addr(), "ops_listen", ops.addr(), "database", h.Backend(), "traces", cmp.Or(conf.Tracing.Host(), "off"), "version", version)

	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	err = errors.Join(err, drain(h, conf.Serve, public, log))
	stop()
	<-ended
	err = errors.Join(err, h.Close(), ops.server.Close())
	log.Info("stopped")
	return err
}

// told is what receivers of the audit log are told of this process.
func (p *process) told() house.Process {
	host, _ := os.Hostname() // empty: they are told none
	return house.Process{Host: host, PID: os.Getpid(), Stdout: p.Stdout}
}

// drain tells the world to go elsewhere and finishes what is in flight.
func drain(h *house.House, conf serveConfig, public *listener, log *slog.Logger) error {
	log.Info("stopping: finishing requests in flight", "delay", conf.ShutdownDelay.String(), "timeout", conf.ShutdownTimeout.String())
	h.Drain()
	public.linger(conf.ShutdownDelay)
	ctx, cancel := context.WithTimeout(context.Background(), conf.ShutdownTimeout)
	defer cancel()
	if err := public.server.Shutdown(ctx); err != nil {
		log.Warn("requests were cut off", "err", err)
		return public.server.Close()
	}
	return nil
}
