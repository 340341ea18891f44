package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/tokenhouse/tokenhouse/internal/house"
)

// configuration loads it, or explains every mistake and fails.
func (p *process) configuration(c *cobra.Command) (config, error) {
	conf, found := p.source(c).load()
	for _, m := range found {
		if !m.Warning {
			fmt.Fprintln(p.Stderr, m)
		}
	}
	if n := mistakes(found); n > 0 {
		return config{}, fmt.Errorf("the configuration has %s; nothing was done", plural(n, "mistake"))
	}
	return conf, nil
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// withHouse opens the database of the configuration for one command, beside a
// server that may be running on it, and hands the house to do. The server
// follows what do changes.
func (p *process) withHouse(c *cobra.Command, do func(context.Context, *house.House) error) (err error) {
	conf, err := p.configuration(c)
	if err != nil {
		return err
	}
	h, err := house.Open(c.Context(), conf.House, p.env(conf.Log.quiet().logger(p.Stderr)))
	if err != nil {
		return err
	}
	defer func() {
		if e := h.Close(); err == nil {
			err = e
		}
	}()
	return do(c.Context(), h)
}

// env is what a house needs from outside.
func (p *process) env(log *slog.Logger) house.Env {
	return house.Env{Now: p.Now, Random: rand.Reader, Logger: log, Build: house.Build{Version: version, Revision: revision()}, ClockSkew: house.MaxClockSkew}
}
