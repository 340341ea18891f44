package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/storage/gormstore"
)

const (
	password = "correct horse battery staple"
	admin    = "admin@bench.localhost"
)

// subject is a server under measurement, with everything at hand that its
// operations present.
type subject struct {
	url      string
	client   client
	house    *house.House
	counted  *statements
	sessions []session // one for each worker
	apiKey   string
	robot    robot
	app      application
	visitors []*visitor // one for each worker
	stop     func()
}

// robot is a service client with a token of its own.
type robot struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret"`
	Access string `json:"access_token"`
}

type session struct {
	Email   string `json:"-"`
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

// statements counts what reaches the database.
type statements struct {
	mu      sync.Mutex
	reads   int
	writes  int
	commits int
}

func (s *statements) before(kind string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch kind {
	case "commit":
		s.commits++
	case "query", "row":
		s.reads++
	default:
		s.writes++
	}
	return nil
}

func (s *statements) take() (reads, writes, commits int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	reads, writes, commits = s.reads, s.writes, s.commits
	s.reads, s.writes, s.commits = 0, 0, 0
	return reads, writes, commits
}

// openSubject starts a server with a cool-down of 0, so that every refresh
// rotates, on the database that url names.
func openSubject(ctx context.Context, url, dir string, workers int) (*subject, error) {
	s, err := openHouse(ctx, url, dir, workers, 0)
	if err != nil {
		return nil, err
	}
	if err := s.populate(ctx, workers); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// openCold starts a server, on the database of another one, that remembers few
// API keys.
func openCold(ctx context.Context, url, dir string, workers int) (*subject, error) {
	return openHouse(ctx, url, dir, workers, coldCache)
}

// masterKey is the same for all servers of one database, and for what is
// written past them.
const masterKey = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// openHouse starts a server. It remembers as many keys as cached says, 0 for
// the usual number.
func openHouse(ctx context.Context, url, dir string, workers, cached int) (*subject, error) {
	conf := house.Defaults()
	conf.DataDir, conf.Database.URL = dir, url
	conf.Sealing.MasterKey = secret.Of(masterKey)
	conf.Tokens.RefreshCooldown = 0
	conf.Accounts.LoginFailureDelay = 0
	conf.Admin = house.Admin{Email: admin, Password: secret.Of(password)}
	counted := &statements{}
	h, err := house.Open(ctx, conf, house.Env{
		Now: time.Now, Random: rand.Reader, Serving: true, Hooks: gormstore.Hooks{Before: counted.before},
		Logger: slog.New(slog.NewJSONHandler(io.Discard, nil)), // written, and thrown away
	})
	if err != nil {
		return nil, err
	}
	h.APIKeys.CacheSize = cached
	running, cancel := context.WithCancel(ctx)
	background := make(chan struct{})
	go func() { defer close(background); h.Run(running) }()
	base, stop, err := listen(h.Handler)
	if err != nil {
		cancel()
		return nil, err
	}
	return &subject{url: base, client: newClient(workers), house: h, counted: counted, stop: func() {
		stop()
		cancel()
		<-background
		_ = h.Close()
	}}, nil
}

// populate makes a user for each worker, signed in once, and an API key.
func (s *subject) populate(ctx context.Context, workers int) error {
	if _, err := s.house.FirstRun(ctx); err != nil {
		return err
	}
	for w := range workers {
		email := fmt.Sprintf("worker-%d@bench.localhost", w)
		err := s.client.expect(http.StatusCreated, request{method: "POST", url: s.url + "/api/v1/auth/register", body: map[string]string{
			"email": email, "password": password, "name": "Worker",
		}})
		if err != nil {
			return err
		}
		one := session{Email: email}
		if err := s.client.into(http.StatusOK, s.login(email), &one); err != nil {
			return err
		}
		s.sessions = append(s.sessions, one)
	}
	var made struct {
		APIKey string `json:"api_key"`
	}
	err := s.client.into(http.StatusCreated, request{
		method: "POST", url: s.url + "/api/v1/api-keys", header: bearer(s.sessions[0].Access),
		body: map[string]any{"name": "bench", "permissions": []string{"incidents:read"}},
	}, &made)
	s.apiKey = made.APIKey
	if err != nil {
		return err
	}
	err = s.client.into(http.StatusCreated, request{
		method: "POST", url: s.url + "/api/v1/clients", header: bearer(s.sessions[0].Access),
		body: map[string]any{"name": "bench", "auth_method": "client_secret_post", "grants": []string{"client_credentials"}, "scopes": []string{"incidents:read"}},
	}, &s.robot)
	if err != nil {
		return err
	}
	if err := s.client.into(http.StatusOK, s.asRobot("/oauth2/token", "grant_type", "client_credentials"), &s.robot); err != nil {
		return err
	}
	return s.admit(workers)
}

// asRobot is a request of the service client with one parameter.
func (s *subject) asRobot(path, name, value string) request {
	return request{method: "POST", url: s.url + path, body: url.Values{"client_id": {s.robot.ID}, "client_secret": {s.robot.Secret}, name: {value}}}
}

func bearer(token string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + token}
}

func (s *subject) login(email string) request {
	return request{method: "POST", url: s.url + "/api/v1/auth/login", body: map[string]string{"email": email, "password": password}}
}

// The operations that are measured.

func (s *subject) opLogin(w int) error {
	return s.client.expect(http.StatusOK, s.login(s.sessions[w].Email))
}

func (s *subject) opRefresh(w int) error {
	before := s.sessions[w].Refresh
	err := s.client.into(http.StatusOK, request{
		method: "POST", url: s.url + "/api/v1/auth/refresh", body: map[string]string{"refresh_token": before},
	}, &s.sessions[w])
	if err == nil && s.sessions[w].Refresh == before {
		return fmt.Errorf("the refresh did not rotate")
	}
	return err
}

func (s *subject) opToken(w int) error {
	return s.client.expect(http.StatusOK, request{method: "GET", url: s.url + "/api/v1/auth/verify", header: bearer(s.sessions[w].Access)})
}

func (s *subject) opAPIKey(int) error {
	return s.client.expect(http.StatusOK, request{method: "GET", url: s.url + "/api/v1/auth/verify", header: map[string]string{"X-API-Key": s.apiKey}})
}

func (s *subject) opClientCredentials(int) error {
	return s.client.expect(http.StatusOK, s.asRobot("/oauth2/token", "grant_type", "client_credentials"))
}

func (s *subject) opIntrospect(int) error {
	var answer struct{ Active bool }
	err := s.client.into(http.StatusOK, s.asRobot("/oauth2/introspect", "token", s.robot.Access), &answer)
	if err == nil && !answer.Active {
		return fmt.Errorf("the token is not active")
	}
	return err
}

func (s *subject) opJWKS(int) error {
	return s.client.expect(http.StatusOK, request{method: "GET", url: s.url + "/.well-known/jwks.json"})
}

// cost runs op once more, alone, and says what it asked of the database.
func (s *subject) cost(op operation) (string, error) {
	if err := op(0); err != nil { // warm, and past what happens once an hour
		return "", err
	}
	s.counted.take()
	if err := op(0); err != nil {
		return "", err
	}
	reads, writes, commits := s.counted.take()
	return fmt.Sprintf("%d reads, %d writes, %d commits", reads, writes, commits), nil
}
