package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (p *process) healthcheckCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask a running server whether it is ready",
		Long: `Asks /readyz of the operations listener. The exit code is 0 where the server is
ready and 1 where it is not, which is what container engines want to know.`,
		Example: `  tokenhouse healthcheck
  tokenhouse healthcheck --url http://10.0.0.7:9464/readyz`,
		RunE: p.healthcheck,
	}
	c.Flags().String("url", "", "what to ask instead of the configured ops_listen")
	c.Flags().Duration("timeout", 2*time.Second, "how long to wait for the answer")
	return c
}

func (p *process) healthcheck(c *cobra.Command, _ []string) error {
	url, _ := c.Flags().GetString("url")
	if url == "" {
		conf, _ := p.source(c).load() // a mistake elsewhere does not keep us from asking
		url = "http://" + reachable(conf.Serve.OpsListen) + "/readyz"
	}
	timeout, _ := c.Flags().GetDuration("timeout")
	ctx, cancel := context.WithTimeout(c.Context(), timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("the server does not answer: %w", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<10))
	if err != nil {
		return fmt.Errorf("the server does not answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the server is not ready: %s %s", res.Status, strings.TrimSpace(string(body)))
	}
	fmt.Fprintln(p.Stdout, "ready")
	return nil
}

// reachable is an address to connect to for one that is listened on: an empty
// or unspecified host means every address of this machine.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
