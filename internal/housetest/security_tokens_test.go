package housetest_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// claimsOf reads a token without judging it.
func claimsOf(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("a token of %d parts", len(parts))
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(b, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// SEC-JWT-33: one changed character in any place of a token is one too many, for
// the server and for the resource server behind it.
func TestNoCharacterOfATokenMayChange(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	h := housetest.Start(t, housetest.Options{})
	token := h.Login(h.Admin).Access
	for i := range len(token) {
		// Another character of the alphabet, one bit away; a dot becomes one too.
		at := max(strings.IndexByte(alphabet, token[i]), 0)
		changed := token[:i] + string(alphabet[at^(1<<(i%6))]) + token[i+1:]
		for _, path := range []string{"/api/v1/me", "/api/v1/agents"}[:1+i%2] {
			if r := h.Client().As(changed).Get(path); r.Status != http.StatusUnauthorized {
				t.Fatalf("character %d of the token was changed: %s", i, r)
			}
		}
	}
	for _, cut := range []string{token[:len(token)-1], token + "A", token[1:], token + ".", "." + token, token + "=", strings.ToUpper(token)} {
		h.Client().As(cut).Get("/api/v1/me").Expect(http.StatusUnauthorized)
	}
	h.Client().As(token).Get("/api/v1/me").Expect(http.StatusOK)
}

// SEC-JWT-36: nothing that people may call themselves, their organisation, their
// role or their key becomes a claim.
func TestNamesNeverBecomeClaims(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		admin := h.Client().As(h.Login(h.Admin).Access)
		name := `x","permissions":["*:*"],"org_id":"org_evil","sub":"user_evil","exp":9999999999,"z":"`
		admin.Put("/api/v1/roles/iss", map[string]any{"permissions": []string{"agents:read"}}).Expect(http.StatusOK)
		admin.Patch("/api/v1/organizations/"+string(h.Admin.Org), map[string]string{"name": name[:60]}).Expect(http.StatusOK)
		admin.Post("/api/v1/users", map[string]string{"email": "claims@example.com", "name": name, "role": "iss", "password": workerPassword}).Expect(http.StatusCreated)
		s := h.Client().Login("claims@example.com", workerPassword)
		claims := claimsOf(t, s.Access)
		if claims["org_id"] != string(h.Admin.Org) || claims["sub"] != s.User || claims["iss"] != h.Config.Issuer {
			t.Errorf("claims were overwritten: %v", claims)
		}
		if !slices.Equal(claims["permissions"].([]any), []any{"agents:read"}) || !slices.Equal(claims["roles"].([]any), []any{"iss"}) {
			t.Errorf("rights were overwritten: %v", claims)
		}
		want := []string{"aud", "client_id", "exp", "iat", "iss", "jti", "nbf", "org_id", "permissions", "roles", "scope", "sid", "status", "sub"}
		var got []string
		for name := range claims {
			got = append(got, name)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("the claims are %v, want %v", got, want)
		}
	})
}

// SEC-JWT-38: subjects and clients have identifiers of different kinds, and a
// token whose subject is a client has no person's rights.
func TestAClientIsNoSubject(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		claims := claimsOf(t, h.Login(h.Admin).Access)
		if sub, client := claims["sub"].(string), claims["client_id"].(string); !strings.HasPrefix(sub, "user_") || !strings.HasPrefix(client, "cli_") {
			t.Errorf("sub %s and client_id %s cannot be told apart", sub, client)
		}
		h.Client().As(minted(t, h, func(*tokens.Claims) {})).Get("/api/v1/me").Expect(http.StatusOK)
		for _, sub := range []string{claims["client_id"].(string), "cli_api", string(h.Admin.Org), ""} {
			token := minted(t, h, func(c *tokens.Claims) { c.Subject = ident.UserID(sub) })
			for _, path := range []string{"/api/v1/me", "/api/v1/users", "/api/v1/api-keys"} {
				h.Client().As(token).Get(path).Problem(http.StatusUnauthorized, "INVALID_TOKEN")
			}
		}
	})
}

// SEC-OAU-65: what is drawn is drawn anew each time: no two are the same, every
// place takes every digit equally often, and neighbours do not depend on each
// other.
func TestWhatIsDrawnIsRandom(t *testing.T) {
	const drawn = 300
	h := housetest.Start(t, housetest.Options{})
	s := h.Login(h.Admin)
	c := h.Client().As(s.Access)
	var keys, requests []string
	for i := range drawn {
		r := c.Post("/api/v1/api-keys", map[string]any{"name": fmt.Sprint("k", i), "permissions": []string{"agents:read"}}).Expect(http.StatusCreated)
		key := r.Text("api_key")
		keys = append(keys, key[strings.LastIndex(key, "_")+1:][:40]) // without the checksum
		requests = append(requests, r.Header.Get("X-Request-Id")[14:])
	}
	for what, list := range map[string][]string{"API keys": keys, "identifiers": requests} {
		distinct := slices.Clone(list)
		slices.Sort(distinct)
		if n := len(slices.Compact(distinct)); n != drawn {
			t.Errorf("%s: %d of %d are different", what, n, drawn)
		}
		digits := map[byte]bool{}
		for _, s := range list {
			for i := range len(s) {
				digits[s[i]] = true
			}
		}
		uniform(t, what, list, len(digits))
	}
	if bits := 32 * math.Log2(62); bits < 128 {
		t.Errorf("an API key has %f bits", bits)
	}
}

// uniform tests with χ², at a chance of error of about 10⁻⁶, that all digits are
// equally frequent, and that the first says nothing about the last and the next.
func uniform(t *testing.T, what string, list []string, base int) {
	t.Helper()
	chi := func(counts map[string]int, cells int) float64 {
		total := 0
		for _, n := range counts {
			total += n
		}
		want, sum := float64(total)/float64(cells), 0.0
		for _, n := range counts {
			sum += (float64(n) - want) * (float64(n) - want) / want
		}
		sum += float64(cells-len(counts)) * want
		return (sum - float64(cells-1)) / math.Sqrt(2*float64(cells-1)) // about normal
	}
	single, pairs := map[string]int{}, map[string]int{}
	half := func(b byte) string { return map[bool]string{true: "1", false: "0"}[b%2 == 1] }
	for _, s := range list {
		for i := range len(s) {
			single[s[i:i+1]]++
		}
		for i := range len(s) - 1 {
			pairs[half(s[i])+half(s[i+1])]++
		}
	}
	if z := chi(single, base); z > 6 {
		t.Errorf("%s: digits are not equally frequent (z = %.1f): %v", what, z, single)
	}
	// Odd and even digits are not equally many in every alphabet, so neighbours
	// are compared with what their frequencies alone would give.
	odd := float64(pairs["10"]+pairs["11"]) / float64(pairs["00"]+pairs["01"]+pairs["10"]+pairs["11"])
	n := float64(pairs["00"] + pairs["01"] + pairs["10"] + pairs["11"])
	z := (float64(pairs["11"]) - n*odd*odd) / math.Sqrt(n*odd*odd*(1-odd*odd))
	if math.Abs(z) > 6 {
		t.Errorf("%s: neighbours depend on each other (z = %.1f): %v", what, z, pairs)
	}
}
