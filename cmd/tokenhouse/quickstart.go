package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// visitTimeout bounds each request.
const visitTimeout = 10 * time.Second

func (p *process) quickstartCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "quickstart",
		Short: "Walk through everything a running server does, and check it",
		Long: `Speaks to a running server over HTTP as a client would: login, offline
verification, refresh, the detection of a stolen refresh token, an API key, logout.
Each step says what it proved and how long it took; the exit code is 1 where
anything was not as it should be.

Without --email a throw-away account is registered, with an organisation of its own.`,
		Example: `  tokenhouse quickstart
  tokenhouse quickstart --url https://tokens.example.com --email jane@example.com --password-stdin <password.txt`,
		RunE: func(c *cobra.Command, _ []string) error {
			v, err := p.visit(c)
			if err != nil {
				return err
			}
			return v.walk(c.Context())
		},
	}
	c.Flags().String("url", "", "where the server answers; the configured issuer where left out")
	c.Flags().String("email", "", "who logs in")
	passwordFlags(c, "their password")
	return c
}

// visit is one walk through a running server.
type visit struct {
	out             io.Writer
	now             func() time.Time
	http            *http.Client
	base            string
	audience        string
	email, password string
	registers       bool // the account is made for this visit

	issuer  string
	claims  verify.Claims // of the latest access token
	access  string
	refresh []string // every refresh token of the latest login, oldest first
	keyID   string
	key     string
}

func (p *process) visit(c *cobra.Command) (*visit, error) {
	conf, _ := p.source(c).load() // only the issuer matters here
	v := &visit{
		out: p.Stdout, now: p.Now, base: conf.House.Issuer, audience: conf.House.Audience,
		http: &http.Client{Timeout: visitTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	if url, _ := c.Flags().GetString("url"); url != "" {
		v.base = strings.TrimRight(url, "/")
	}
	v.email, _ = c.Flags().GetString("email")
	given, err := p.password(c)
	if err != nil {
		return nil, err
	}
	v.password = given.Reveal()
	if v.password == "" && v.email != "" {
		if v.password = conf.House.Admin.Password.Reveal(); v.password == "" {
			return nil, errors.New("--email needs --password-stdin, --password-file, or TOKENHOUSE_ADMIN_PASSWORD")
		}
	}
	if v.email != "" {
		return v, nil
	}
	name, err := secret.Text(rand.Reader, 8)
	if err != nil {
		return nil, err
	}
	password, err := secret.Text(rand.Reader, 24)
	if err != nil {
		return nil, err
	}
	v.email, v.password, v.registers = "visitor-"+strings.ToLower(name)+"@example.com", password, true
	return v, nil
}

// step is one thing that a visit proves.
type step struct {
	name string
	do   func(context.Context) (proved string, err error)
}

// walk takes every step and stops at the first surprise.
func (v *visit) walk(ctx context.Context) error {
	steps := []step{{"find the server", v.find}}
	if v.registers {
		steps = append(steps, step{"register", v.register})
	}
	steps = append(steps,
		step{"log in", v.login},
		step{"verify offline", v.verifyOffline},
		step{"notice tampering", v.tamper},
		step{"refresh", v.renew},
		step{"catch a thief", v.theft},
		step{"log in again", v.login},
		step{"make an API key", v.createKey},
		step{"use the API key", v.useKey},
		step{"revoke the API key", v.revokeKey},
		step{"log out", v.logout},
	)
	start := v.now()
	for i, s := range steps {
		began := v.now()
		proved, err := s.do(ctx)
		took := v.now().Sub(began).Round(100 * time.Microsecond)
		if err != nil {
			fmt.Fprintf(v.out, "✗ %2d  %-20s %9s  %v\n", i+1, s.name, took, err)
			return errSilent
		}
		fmt.Fprintf(v.out, "✓ %2d  %-20s %9s  %s\n", i+1, s.name, took, proved)
	}
	fmt.Fprintf(v.out, "\nEverything is as it should be, in %s.\n", v.now().Sub(start).Round(time.Millisecond))
	if v.registers {
		fmt.Fprintf(v.out, "The account %s and its organisation stay behind; nobody has its password.\n", v.email)
	}
	return nil
}

// answer is what the server said.
type answer struct {
	status int
	body   []byte
}

// text is a member of the answer's JSON object, or empty.
func (a answer) text(member string) string {
	var m map[string]any
	if json.Unmarshal(a.body, &m) != nil {
		return ""
	}
	s, _ := m[member].(string)
	return s
}

// request is one question to the server.
type request struct {
	method, path string
	body         any
	headers      map[string]string
}

// ask fails where the status is not the expected one.
func (v *visit) ask(ctx context.Context, r request, status int) (answer, error) {
	var body io.Reader
	if r.body != nil {
		b, err := json.Marshal(r.body)
		if err != nil {
			return answer{}, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, v.base+r.path, body)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("User-Agent", "tokenhouse-quickstart")
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range r.headers {
		req.Header.Set(name, value)
	}
	res, err := v.http.Do(req)
	if err != nil {
		return answer{}, fmt.Errorf("no server answers (start one with: tokenhouse serve): %w", err)
	}
	defer res.Body.Close()
	read, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return answer{}, err
	}
	a := answer{res.StatusCode, read}
	if a.status != status {
		return a, fmt.Errorf("%s %s answered %d instead of %d: %s (request %s)", r.method, r.path, a.status, status, a.text("detail"), res.Header.Get("X-Request-Id"))
	}
	return a, nil
}
