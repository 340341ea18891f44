package housetest_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/captchatest"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// solved finds the proof that a challenge of work asks for, by its description
// in docs/lockout.md alone.
func solved(challenge string, bits int) string {
	for n := 0; ; n++ {
		proof := challenge + "." + strconv.Itoa(n)
		sum := sha256.Sum256([]byte(proof))
		if digits := fmt.Sprintf("%08b%08b%08b%08b", sum[0], sum[1], sum[2], sum[3]); strings.HasPrefix(digits, strings.Repeat("0", bits)) {
			return proof
		}
	}
}

// asksFor is the challenge of a reply, and the bits of work that it asks for.
func asksFor(t *testing.T, r housetest.Reply) (challenge string, bits int) {
	t.Helper()
	var body struct {
		Reason string
		Proof  struct {
			Kind, Challenge string
			Bits            int
			ExpiresAt       time.Time `json:"expires_at"`
		}
	}
	if r.Decode(&body); body.Proof.Kind != "work" || body.Proof.Challenge == "" || !body.Proof.ExpiresAt.Equal(housetest.Epoch().Add(10*time.Minute)) {
		t.Fatalf("no work is asked for: %s", r)
	}
	return body.Proof.Challenge, body.Proof.Bits
}

// besiege lets six failures fill the pool of an account, and has them made.
func besiege(h *housetest.Harness, emails ...string) {
	for _, r := range h.Replicas {
		r.House.Logins.Throttle.Pool = accounts.Limit{Failures: 6, Window: time.Hour}
	}
	for i, email := range emails {
		for n := range 6 {
			h.Client().From(fmt.Sprintf("203.0.113.%d", 10*i+n)).TryLogin(email, "not the password of anyone").Expect(http.StatusUnauthorized)
		}
	}
}

// lessWork is work that tests have the time for.
func lessWork(c *house.Config) { c.Accounts.Proof.Bits = 8 }

// onBothInTwo runs a test on SQLite and on PostgreSQL, there with two replicas.
func onBothInTwo(t *testing.T, test func(*testing.T, *housetest.Harness)) {
	for name, o := range map[string]housetest.Options{"sqlite": {Config: lessWork}, "postgres": {Config: lessWork, Postgres: true, Replicas: 2}} {
		t.Run(name, func(t *testing.T) { test(t, housetest.Start(t, o)) })
	}
}

// A program that is refused finds in the body what its next login needs. It is
// the same for an address that nobody has, works once, on whatever replica, and
// in both dialects.
func TestProgramsShowProofs(t *testing.T) {
	onBothInTwo(t, func(t *testing.T, h *housetest.Harness) {
		p := h.Person(h.Admin.Org, "ada", "viewer")
		besiege(h, p.Email, "nobody@example.com")
		last := len(h.Replicas) - 1
		tries := func(replica int, path, email, password, proof string) housetest.Reply {
			body := map[string]string{"email": email, "password": password}
			if proof != "" {
				body["proof"] = proof
			}
			return h.At(replica).For(t).From("198.51.100.1").Post(path, body)
		}
		const login = "/api/v1/auth/login"
		refused := tries(0, login, p.Email, p.Password, "")
		refused.Problem(http.StatusLocked, "ACCOUNT_LOCKED")
		if refused.Text("reason") != "proof_required" || refused.Header.Get("Retry-After") != "3600" {
			t.Errorf("refused by %s %v", refused, refused.Header)
		}
		unchallenged := func(r housetest.Reply) housetest.Reply {
			challenge, _ := asksFor(t, r)
			r.Body, r.Header = bytes.ReplaceAll(r.Body, []byte(challenge), []byte("a challenge")), maps.Clone(r.Header)
			return r
		}
		same(t, "what is asked of an account and of nobody", unchallenged(refused), unchallenged(tries(0, login, "nobody@example.com", p.Password, "")))
		challenge, bits := asksFor(t, refused)
		proof := solved(challenge, bits)
		tries(last, login, "nobody@example.com", p.Password, proof).Problem(http.StatusLocked, "ACCOUNT_LOCKED")
		tries(last, login, p.Email, p.Password, proof).Expect(http.StatusOK)
		for replica := range h.Replicas {
			tries(replica, login, p.Email, p.Password, proof).Problem(http.StatusLocked, "ACCOUNT_LOCKED")
		}
		// A wrong password says at once what the next one needs.
		next := func(r housetest.Reply) string {
			challenge, bits := asksFor(t, r)
			return solved(challenge, bits)
		}
		wrong := tries(0, login, p.Email, "not the password of anyone", next(tries(0, login, p.Email, p.Password, "")))
		wrong.Problem(http.StatusUnauthorized, "INVALID_CREDENTIALS")
		tries(last, "/auth/login", p.Email, p.Password, next(wrong)).Expect(http.StatusOK)
		tries(0, login, p.Email, p.Password, strings.Repeat("x", 9<<10)).Problem(http.StatusLocked, "ACCOUNT_LOCKED")

		accepted := 0
		for replica := range h.Replicas {
			_, rest, _ := strings.Cut(string(h.OpsAt(replica).Get("/metrics").Body), "\ntokenhouse_login_proofs_total{result=\"accepted\"} ")
			count, _, _ := strings.Cut(rest, "\n")
			n, err := strconv.Atoi(count)
			if err != nil {
				t.Fatal(err)
			}
			accepted += n
		}
		if accepted != 3 {
			t.Errorf("%d proofs are counted as accepted, want 3", accepted)
		}
	})
}

var (
	pageChallenge = regexp.MustCompile(`data-challenge="([^"]+)" data-bits="(\d+)"`)
	puzzlePolicy  = "default-src 'none'; style-src 'self' %[1]s; script-src %[1]s; frame-src %[1]s; connect-src %[1]s; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

// The login page asks as well, loads nothing but our own scripts for it, and says
// what else there is for those who run none.
func TestTheLoginPageAsksForAProof(t *testing.T) {
	post := sink(t)
	h := mailing(t, post, housetest.Options{})
	for _, r := range h.Replicas {
		r.House.Logins.Proofs.Bits = 8
	}
	p := h.Person(h.Admin.Org, "ada", "viewer")
	besiege(h, p.Email)
	b := h.Browser().From("198.51.100.1")
	if b.Open("/login"); b.Page.Has("proof") || strings.Contains(b.Page.Header.Get("Content-Security-Policy"), "script-src") {
		t.Errorf("somebody who did nothing is asked for a proof: %s", b.Page)
	}
	b.Submit(map[string]string{"email": p.Email, "password": p.Password})
	b.Page.Shows("Sign in").Expect(http.StatusLocked)
	for _, words := range []string{"needs JavaScript", "Use the link that was mailed to the owner of this account", "a browser that has signed in to this account before", "Try again in 60 minutes"} {
		if !strings.Contains(b.Page.Words, words) {
			t.Errorf("the page does not say %q: %s", words, b.Page.Words)
		}
	}
	if got, want := b.Page.Header.Get("Content-Security-Policy"), "default-src 'none'; style-src 'self'; script-src 'self'; worker-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"; got != want {
		t.Errorf("the policy is %s", got)
	}
	work := func() string {
		t.Helper()
		m := pageChallenge.FindStringSubmatch(string(b.Page.Body))
		if m == nil {
			t.Fatalf("the page asks for nothing: %s", b.Page)
		}
		bits, _ := strconv.Atoi(m[2])
		return solved(m[1], bits)
	}
	b.Submit(map[string]string{"email": p.Email, "password": "not the password of anyone", "proof": work()})
	b.Page.Shows("Sign in").Expect(http.StatusUnauthorized)
	b.Submit(map[string]string{"email": p.Email, "password": p.Password, "proof": work()})
	b.Page.Shows("You are signed in").Expect(http.StatusOK)
	other := h.Browser().From("198.51.100.2") // the mailed link is a proof too
	mailed(t, h)
	other.Open(unlockPathOf(t, h, post.Next(t, 1)))
	other.Submit(map[string]string{"token": other.Page.Forms[0].Fields.Get("token")})
	other.SignIn("/login", p).Shows("You are signed in")
}

// Where a provider of captchas is configured, it is asked instead: for the page,
// which may load it and nothing else, and for programs.
func TestACaptchaInsteadOfWork(t *testing.T) {
	var provider *captchatest.Provider
	h := housetest.Start(t, housetest.Options{Config: func(c *house.Config) {
		provider = captchatest.Start(t, "127.0.0.1")
		c.Accounts.Proof = house.LoginProof{Kind: "turnstile", Bits: 18, SiteKey: provider.Site, Secret: secret.Of(provider.Secret), VerifyURL: provider.Verify, ScriptURL: provider.Script}
		if found := c.Check(); len(found) > 0 {
			t.Errorf("the configuration is refused: %v", found)
		}
	}})
	p := h.Person(h.Admin.Org, "ada", "viewer")
	besiege(h, p.Email)
	tries := func(proof string) housetest.Reply {
		return h.Client().From("198.51.100.1").Post("/api/v1/auth/login", map[string]string{"email": p.Email, "password": p.Password, "proof": proof})
	}
	asked := tries("")
	asked.Problem(http.StatusLocked, "ACCOUNT_LOCKED")
	if asked.Text("proof.kind") != "turnstile" || asked.Text("proof.site_key") != provider.Site || asked.Has("proof.bits") {
		t.Errorf("asked by %s", asked)
	}
	next := func() string { return tries("").Text("proof.challenge") }
	answer := provider.Answer()
	tries(next() + "." + answer).Expect(http.StatusOK)
	tries(next()+"."+answer).Problem(http.StatusLocked, "ACCOUNT_LOCKED") // the provider knows that it was shown
	tries(next()+".made up").Problem(http.StatusLocked, "ACCOUNT_LOCKED")
	provider.Break(true)
	broken := tries(next() + "." + provider.Answer())
	broken.Problem(http.StatusServiceUnavailable, "UNAVAILABLE")
	if broken.Header.Get("Retry-After") != "5" || !strings.Contains(string(h.OpsClient().Get("/metrics").Body), "\ntokenhouse_login_proofs_total{result=\"unavailable\"} 1\n") {
		t.Errorf("while the provider is down: %s %v", broken, broken.Header)
	}
	provider.Break(false)
	n := provider.Asked()
	tries("no challenge."+provider.Answer()).Problem(http.StatusLocked, "ACCOUNT_LOCKED")
	if provider.Asked() != n || n != 4 {
		t.Errorf("the provider was asked %d times, and then %d", n, provider.Asked()-n)
	}
	if all := provider.Received() + h.Logs(); strings.Contains(provider.Received(), "198.51.100.1") || strings.Contains(all, p.Password) || strings.Contains(h.Logs(), provider.Secret) {
		t.Error("the provider learns addresses or passwords, or the log its secret")
	}

	b := h.Browser().From("198.51.100.2")
	b.Open("/login")
	b.Submit(map[string]string{"email": p.Email, "password": p.Password})
	b.Page.Shows("Sign in").Expect(http.StatusLocked)
	if got, want := b.Page.Header.Get("Content-Security-Policy"), fmt.Sprintf(puzzlePolicy, provider.URL); got != want {
		t.Errorf("the policy is\n%s, want\n%s", got, want)
	}
	for _, part := range []string{`class="puzzle cf-turnstile" data-sitekey="a-site-key"`, `<script src="` + provider.Script + `" async defer></script>`} {
		if !strings.Contains(string(b.Page.Body), part) {
			t.Errorf("the page has no %s: %s", part, b.Page)
		}
	}
	form := b.Page.Forms[0].Fields
	form.Set("password", p.Password)
	form.Set("cf-turnstile-response", provider.Answer()) // as the provider's script adds it
	b.Post(h.Config.Issuer, "/login", form)
	b.Page.Shows("You are signed in")
}

// Whoever is asked for the password again in a browser whose mark is gone is a
// stranger to the account: where strangers filled the pool, the page asks for a
// proof as the login does.
func TestThePasswordAskedForAgainWithAProof(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Config: lessWork})
	p := h.Person(h.Admin.Org, "ada", "viewer")
	before, b := h.Browser(), h.Browser()
	before.SignIn("/login", p)
	for _, name := range []string{"th_session", "th_browser"} {
		b.SetCookie(name, before.Cookie(name))
	}
	besiege(h, p.Email)
	b.Open("/login/again?return_to=/settings")
	b.Submit(map[string]string{"password": p.Password})
	asked := pageChallenge.FindSubmatch(b.Page.Body)
	if b.Page.Status != http.StatusLocked || asked == nil || !strings.Contains(b.Page.Words, "Without the check") {
		t.Fatalf("no proof is asked for: %s", b.Page)
	}
	bits, err := strconv.Atoi(string(asked[2]))
	if err != nil {
		t.Fatal(err)
	}
	page := b.Submit(map[string]string{"password": p.Password, "proof": solved(string(asked[1]), bits)})
	if page.Status != http.StatusOK || page.URL.Path != "/settings" {
		t.Errorf("with a proof: %s", page)
	}
}
