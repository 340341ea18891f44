package oauth_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/storage/gormstore"
)

// badGrant is invalid_grant at the token endpoint.
func badGrant(err error) bool { return errors.Is(err, fault.InvalidToken) }

// SEC-OAU-11: the second redemption of a code ends what the first gave, and is
// on record once.
func TestACodeIsRedeemedOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, o opener) {
		w := open(t, o, newClock())
		v := w.visitor("ada@example.com", nil).login("ada@example.com")
		code := v.allow(nil)
		in, err := v.redeem(code, nil)
		must(t, err)
		w.clock.advance(30 * time.Second)
		// Whoever cannot prove that the code is theirs ends nothing.
		for _, wrong := range []oauth.Params{{"code_verifier": strings.Repeat("x", 43)}, {"redirect_uri": "https://app.example/other"}} {
			if _, err := v.redeem(code, wrong); err == nil {
				t.Fatalf("%v: redeemed", wrong)
			}
		}
		if f, err := w.db.Sessions().Family(t.Context(), in.Session); err != nil || !f.Ended.At.IsZero() {
			t.Fatalf("the family ended by somebody who proved nothing: %+v, %v", f.Ended, err)
		}
		w.heard()
		for range 2 {
			w.clock.advance(time.Minute) // the code has expired by now, and is known still
			if _, err := v.redeem(code, nil); !badGrant(err) {
				t.Errorf("again: %v", err)
			}
		}
		if got := w.told(); !slices.Equal(got, []string{"session.revoked code_reused", "code.reused code_reused"}) {
			t.Errorf("told %v", got)
		}
		if _, err := v.refresh(in.Refresh.Reveal(), nil); !badGrant(err) {
			t.Errorf("refresh: %v", err)
		}
		if f, err := w.db.Sessions().Family(t.Context(), in.Session); err != nil || f.Ended.Reason != "code_reused" {
			t.Errorf("the family: %+v, %v", f.Ended, err)
		}
	})
}

// SEC-OAU-13, SEC-OAU-14, SEC-OAU-15, SEC-OAU-20: a code is good for whom it
// was given, for a minute, for the request that asked for it. A failure leaves
// it as it is.
func TestWhoMayRedeemACode(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	v := w.visitor("ada@example.com", nil).login("ada@example.com")
	v.allow(nil)
	public := w.register(v.client.Org, nil)
	confidential := w.register(v.client.Org, func(r *oauth.Registered) { r.AuthMethod = oauth.AuthSecretBasic })
	const bad, malformed = fault.InvalidToken, fault.Malformed
	for _, tt := range []struct {
		name   string
		client *oauth.Registered
		change oauth.Params
		want   fault.Code
	}{
		{"SEC-OAU-13: another public client", &public, nil, bad},
		{"SEC-OAU-13: another confidential client", &confidential, nil, bad},
		{"no code", nil, oauth.Params{"code": ""}, malformed},
		{"a made-up code", nil, oauth.Params{"code": "thc_" + strings.Repeat("a", 43)}, bad},
		{"SEC-OAU-14: another redirect_uri", nil, oauth.Params{"redirect_uri": callback + "/"}, bad},
		{"SEC-OAU-14: no redirect_uri", nil, oauth.Params{"redirect_uri": ""}, bad},
		{"SEC-OAU-15: no verifier", nil, oauth.Params{"code_verifier": ""}, bad},
		{"SEC-OAU-20: the verifier of another request", nil, oauth.Params{"code_verifier": strings.Repeat("v", 43)}, bad},
		{"SEC-OAU-15: a verifier of 42", nil, oauth.Params{"code_verifier": strings.Repeat("v", 42)}, malformed},
		{"SEC-OAU-15: a verifier of 129", nil, oauth.Params{"code_verifier": strings.Repeat("v", 129)}, malformed},
		{"SEC-OAU-15: a verifier of other characters", nil, oauth.Params{"code_verifier": verifier + "+"}, malformed},
		{"SEC-OAU-15: the challenge as verifier", nil, oauth.Params{"code_verifier": challengeOf(verifier)}, bad},
		{"SEC-OAU-50: another resource", nil, oauth.Params{"resource": "https://other.example"}, fault.InvalidTarget},
	} {
		code, owner := v.allow(nil), v.client
		if tt.client != nil {
			v.client = *tt.client
		}
		if _, err := v.redeem(code, tt.change); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v; want %s", tt.name, err, tt.want)
		}
		v.client = owner
		if _, err := v.redeem(code, nil); err != nil {
			t.Errorf("%s: and then by whom it was given to: %v", tt.name, err)
		}
	}
}

func TestACodeLivesForAMinute(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	v := w.visitor("ada@example.com", nil).login("ada@example.com")
	for age, good := range map[time.Duration]bool{59 * time.Second: true, 60 * time.Second: false, time.Hour: false} { // SEC-OAU-14
		code := v.allow(nil)
		w.clock.advance(age)
		if _, err := v.redeem(code, nil); (err == nil) != good || !good && !badGrant(err) {
			t.Errorf("after %s: %v", age, err)
		}
	}
}

// RFC 9700 §4.8.2: a verifier for a request that had no challenge means that
// the challenge was taken away.
func TestAChallengeCannotBeTakenAway(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	v := w.visitor("ada@example.com", func(r *oauth.Registered) {
		r.AuthMethod, r.Settings.PKCE = oauth.AuthSecretBasic, oauth.PKCEOptional
	})
	v.login("ada@example.com")
	code := v.allow(oauth.Params{"code_challenge": "", "code_challenge_method": ""})
	if _, err := v.redeem(code, nil); !badGrant(err) {
		t.Errorf("with a verifier: %v", err)
	}
	if _, err := v.redeem(code, oauth.Params{"code_verifier": ""}); err != nil {
		t.Errorf("without: %v", err)
	}
}

// A code counts while the browser session lives in which it was allowed, and
// while the user may enter.
func TestACodeEndsWithTheLogin(t *testing.T) {
	for name, end := range map[string]func(w *world, v *visitor){
		"logged out": func(w *world, v *visitor) {
			_, err := w.Sessions.EndBrowser(w.t.Context(), ident.Caller{}, v.visit(nil).Session.ID, "logout")
			must(w.t, err)
		},
		"another user logged in": func(w *world, v *visitor) { w.person("grace@example.com"); v.login("grace@example.com") },
	} {
		w := open(t, backends["SQLite"](t), newClock())
		v := w.visitor("ada@example.com", nil).login("ada@example.com")
		code := v.allow(nil)
		end(w, v)
		if _, err := v.redeem(code, nil); !badGrant(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Of many who redeem one code together exactly one is given a family, and that
// ends; whatever the order of things (rapid).
func TestACodeNeverGivesTwoFamilies(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	v := w.visitor("ada@example.com", nil).login("ada@example.com")
	v.allow(nil)
	rapid.Check(t, func(r *rapid.T) {
		code := v.allow(nil)
		var mu sync.Mutex
		families := map[ident.SessionID]bool{}
		good := func(err error) bool { return err == nil || badGrant(err) || errors.Is(err, fault.Malformed) }
		for _, together := range rapid.SliceOfN(rapid.IntRange(1, 4), 1, 3).Draw(r, "redemptions at once") {
			var all sync.WaitGroup
			for range together {
				change := oauth.Params{}
				if rapid.IntRange(0, 3).Draw(r, "wrong") == 0 {
					change["code_verifier"] = rapid.StringN(0, 50, 50).Draw(r, "verifier")
				}
				all.Go(func() {
					in, err := v.redeem(code, change)
					mu.Lock()
					defer mu.Unlock()
					if !good(err) {
						t.Errorf("redeem: %v", err)
					}
					if err == nil {
						families[in.Session] = true
					}
				})
			}
			all.Wait()
			w.clock.advance(time.Duration(rapid.IntRange(0, 40).Draw(r, "seconds")) * time.Second)
		}
		if len(families) > 1 {
			t.Fatalf("%d families", len(families))
		}
	})
}

// SEC-OAU-65: 256 random bits each, alike in every place.
func TestCodesAreRandom(t *testing.T) {
	const n = 100_000
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	seen := make(map[string]bool, n)
	places := make([][62]int, 43)
	for range n {
		plain, err := secret.Mint(rand.Reader, oauth.CodePrefix)
		must(t, err)
		text := strings.TrimPrefix(plain.Reveal(), oauth.CodePrefix)
		if len(text) != 43 || seen[text] {
			t.Fatalf("%d characters, or twice", len(text))
		}
		seen[text] = true
		for i := range text {
			places[i][strings.IndexByte(digits, text[i])]++
		}
	}
	for i, counts := range places {
		var chi float64
		for _, c := range counts {
			d := float64(c) - n/62.0
			chi += d * d / (n / 62.0)
		}
		// 61 degrees of freedom: mean 61, standard deviation 11; six of them.
		if math.Abs(chi-61) > 6*math.Sqrt(2*61) {
			t.Errorf("place %d: chi-square %.0f", i, chi)
		}
	}
}

// SEC-OAU-66: nothing that somebody presents lies in the database, whether it
// was used or not.
func TestNoCredentialIsInTheDatabase(t *testing.T) {
	dir := t.TempDir()
	w := open(t, func(o gormstore.Options) (*gormstore.DB, error) {
		return gormstore.OpenSQLite(filepath.Join(dir, "tokenhouse.db"), o)
	}, newClock())
	v := w.visitor("ada@example.com", nil).login("ada@example.com")
	unused, code := v.allow(nil), v.allow(nil)
	ask := v.asked(oauth.Params{"prompt": "consent"})
	in, err := v.redeem(code, nil)
	must(t, err)
	presented := map[string]string{
		"an unused code": unused, "a used code": code, "the refresh token": in.Refresh.Reveal(), "the access token": in.Access.Reveal(), "the ID token": in.IDToken,
		"the browser's cookie": v.cookie, "a request put aside": ask.Pending, "the verifier": verifier,
	}
	files, err := os.ReadDir(dir)
	must(t, err)
	var seen bool
	for _, f := range files {
		body, err := os.ReadFile(filepath.Join(dir, f.Name()))
		must(t, err)
		seen = seen || bytes.Contains(body, []byte(in.Session)) // else nothing was read
		for name, text := range presented {
			if bytes.Contains(body, []byte(text)) {
				t.Errorf("%s is in %s", name, f.Name())
			}
		}
	}
	if !seen {
		t.Error("the database was not read")
	}
}

// SEC-OAU-67: what is stored of a code is a digest with a tag of
// its kind, and no sealed or stored thing of another kind opens as one.
func TestNothingElseIsACode(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	v := w.visitor("ada@example.com", nil).login("ada@example.com")
	code := v.allow(nil)
	if _, err := w.db.Authorizations().Code(t.Context(), secret.Sum(code)); !errors.Is(err, fault.NotFound) {
		t.Errorf("found by a digest without its tag: %v", err)
	}
	found, err := w.db.Authorizations().Code(t.Context(), secret.Sum("authorization-code|"+code))
	must(t, err)
	if bytes.Contains(found.Digest, []byte(code)) || found.Client != v.client.ID {
		t.Errorf("stored %+v", found)
	}
	// Another kind of secret, whose digest somebody managed to write into the
	// table of codes as it is elsewhere, redeems nothing.
	other := "ths_" + strings.Repeat("s", 43)
	found.Digest = secret.Sum(other)
	must(t, w.db.Authorizations().InAuthorizationTx(t.Context(), func(tx oauth.AuthorizationTx) error { return tx.InsertCode(found) }))
	if _, err := v.redeem(other, nil); !badGrant(err) {
		t.Errorf("another kind of secret as a code: %v", err)
	}
	if _, err := v.refresh(code, nil); !badGrant(err) {
		t.Errorf("a code as a refresh token: %v", err)
	}
	sealed, err := w.registry.Sealer.Seal([]byte(`{"params":{},"created":0}`), "client-secret:"+string(v.client.ID))
	must(t, err)
	if _, err := w.authorizer.Pending(t.Context(), v.visit(nil), base64Text(sealed)); !errors.Is(err, fault.CrossOrigin) {
		t.Errorf("another sealed thing as a request put aside: %v", err)
	}
}
