package main

import (
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"

	"golang.org/x/oauth2"
)

// visitor is somebody's browser, logged in at the server, and what an
// application got for it: one for each worker.
type visitor struct {
	http   *http.Client
	tokens struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		ID      string `json:"id_token"`
	}
}

// application is the client that people sign in to.
type application struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret"`
}

const (
	appCallback = "https://app.bench.example/callback"
	appVerifier = "a-verifier-of-at-least-forty-three-characters"
)

// admit registers the application, and lets the first user sign in to it in a
// browser for each worker.
func (s *subject) admit(workers int) error {
	err := s.client.into(http.StatusCreated, request{
		method: "POST", url: s.url + "/api/v1/clients", header: bearer(s.sessions[0].Access),
		body: map[string]any{
			"name": "application", "auth_method": "client_secret_post", "grants": []string{"authorization_code", "refresh_token"},
			"scopes": []string{"openid", "email", "offline_access", "incidents:read"}, "redirect_uris": []string{appCallback},
		},
	}, &s.app)
	if err != nil {
		return err
	}
	for w := range workers {
		jar, err := cookiejar.New(nil)
		if err != nil {
			return err
		}
		v := &visitor{http: &http.Client{
			Jar: jar, Transport: s.client.http.Transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}}
		s.visitors = append(s.visitors, v)
		if err := s.enter(v); err != nil {
			return fmt.Errorf("sign in to the application: %w", err)
		}
		if err := s.opRedeem(w); err != nil {
			return err
		}
	}
	return nil
}

func (s *subject) authorization() string {
	return s.url + "/oauth2/authorize?" + url.Values{
		"client_id": {s.app.ID}, "response_type": {"code"}, "redirect_uri": {appCallback}, "state": {"s"}, "nonce": {"n"},
		"scope": {"openid email offline_access incidents:read"}, "code_challenge": {oauth2.S256ChallengeFromVerifier(appVerifier)}, "code_challenge_method": {"S256"},
	}.Encode()
}

var (
	hidden = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`)
	action = regexp.MustCompile(`<form method="post" action="([^"]+)"`)
)

// enter goes through the pages: it logs in, and allows what is asked.
func (s *subject) enter(v *visitor) error {
	at, form := s.authorization(), url.Values(nil)
	for range 8 {
		page, to, err := v.visit(at, form)
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(to, appCallback):
			return nil
		case to != "":
			if at, form = to, nil; strings.HasPrefix(to, "/") {
				at = s.url + to
			}
			continue
		}
		posts := action.FindStringSubmatch(page)
		if posts == nil {
			return fmt.Errorf("a page without a form: %.300s", page)
		}
		at, form = s.url+html.UnescapeString(posts[1]), url.Values{}
		for _, field := range hidden.FindAllStringSubmatch(page, -1) {
			form.Set(html.UnescapeString(field[1]), html.UnescapeString(field[2]))
		}
		if strings.Contains(page, `name="password"`) {
			form.Set("email", s.sessions[0].Email)
			form.Set("password", password)
		} else {
			form.Set("decision", "allow")
		}
	}
	return errors.New("the pages go round in circles")
}

// visit asks for one page, and returns it and where it redirects.
func (v *visitor) visit(at string, form url.Values) (page, to string, err error) {
	req, err := http.NewRequest(http.MethodGet, at, nil)
	if form != nil {
		req, err = http.NewRequest(http.MethodPost, at, strings.NewReader(form.Encode()))
	}
	if err != nil {
		return "", "", err
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", req.URL.Scheme+"://"+req.URL.Host)
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	res, err := v.http.Do(req)
	if err != nil {
		return "", "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= 400 {
		err = fmt.Errorf("%s: %s %.300s", at, res.Status, b)
	}
	return string(b), res.Header.Get("Location"), err
}

// asApp is a request of the application.
func (s *subject) asApp(pairs url.Values) request {
	pairs.Set("client_id", s.app.ID)
	pairs.Set("client_secret", s.app.Secret)
	return request{method: "POST", url: s.url + "/oauth2/token", body: pairs}
}

func (s *subject) authorize(w int) (code string, err error) {
	_, to, err := s.visitors[w].visit(s.authorization(), nil)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(to)
	if err != nil || u.Query().Get("code") == "" {
		return "", fmt.Errorf("no code at %q: %w", to, err)
	}
	return u.Query().Get("code"), nil
}

func (s *subject) opAuthorize(w int) error {
	_, err := s.authorize(w)
	return err
}

func (s *subject) opRedeem(w int) error {
	code, err := s.authorize(w)
	if err != nil {
		return err
	}
	return s.client.into(http.StatusOK, s.asApp(url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {appCallback}, "code_verifier": {appVerifier},
	}), &s.visitors[w].tokens)
}

func (s *subject) opUserInfo(w int) error {
	return s.client.expect(http.StatusOK, request{method: "GET", url: s.url + "/oauth2/userinfo", header: bearer(s.visitors[w].tokens.Access)})
}

func (s *subject) opDelegatedRefresh(w int) error {
	before := s.visitors[w].tokens.Refresh
	err := s.client.into(http.StatusOK, s.asApp(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {before}}), &s.visitors[w].tokens)
	if err == nil && s.visitors[w].tokens.Refresh == before {
		return errors.New("the refresh did not rotate")
	}
	return err
}
