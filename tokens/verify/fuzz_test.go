package verify_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// Nothing but a token that the issuer made is accepted, in no other spelling,
// and nothing panics.
func FuzzVerify(f *testing.F) {
	i := newIssuer(f)
	good := i.token()
	v := i.verifier()
	f.Add(good)
	f.Add(good + "=")
	f.Add(i.sign(i.header(claim{"alg", "none"}), i.payload()))
	f.Add(i.sign(i.header(claim{"crit", []string{"b64"}}), i.payload(claim{"exp", nil})))
	f.Add("..")
	f.Add("e30.e30.e30")
	f.Fuzz(func(t *testing.T, token string) {
		c, err := v.Verify(t.Context(), token)
		if err == nil && token != good {
			t.Fatalf("accepted %q", token)
		}
		if err != nil && (c.Raw != nil || c.Subject != "") {
			t.Fatalf("claims with %v", err)
		}
	})
}

// Whatever claims the issuer signs, they are read without a panic, and what is
// accepted names an organisation and has not expired.
func FuzzClaims(f *testing.F) {
	i := newIssuer(f)
	v := i.verifier()
	f.Add(i.payload())
	f.Add(i.payload(claim{"exp", json.Number("1e308")}, claim{"aud", []string{audience}}))
	f.Add(strings.Replace(i.payload(), `{`, `{"sub":"x","\u0073ub":"y",`, 1))
	f.Add(`{"exp":[{}],"a":{"b":[1,2,{"c":null}]}}`)
	f.Fuzz(func(t *testing.T, payload string) {
		c, err := v.Verify(t.Context(), i.sign(i.header(), payload))
		if err != nil {
			return
		}
		if c.OrgID == "" || c.Subject == "" || c.ID == "" || c.Issuer != issuerURL || !c.ExpiresAt.Add(verify.DefaultLeeway).After(noon) {
			t.Fatalf("accepted %q as %+v", payload, c)
		}
	})
}

// Every object that members accepts, encoding/json understands in the same way,
// and go-jose too (SEC-JWT-09: no two readers of one token differ).
func FuzzMembers(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":1}`, `{"a":{"b":[1,"\ud83d\ude00",null]},"c":"\\u"}`, `{"a":1,"a":2}`, `{"\u0061":1,"a":2}`, ` { "x" : [ ] , "y" : { } } `, `[`, `{"a":"\ud800"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := verify.Members(data)
		if err != nil {
			return
		}
		if !utf8.Valid(data) {
			t.Fatalf("%q is not UTF-8", data)
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(data, &want); err != nil || len(want) != len(got) {
			t.Fatalf("%q: %d members, encoding/json has %d (%v)", data, len(got), len(want), err)
		}
		for name, raw := range want {
			if !bytes.Equal(bytes.TrimSpace(raw), bytes.TrimSpace(got[name])) {
				t.Fatalf("%q: member %q is %q, encoding/json has %q", data, name, got[name], raw)
			}
		}
	})
}

// A key set is taken or refused, never half, and never with a private key.
func FuzzKeySet(f *testing.F) {
	i := newIssuer(f)
	f.Add(i.jwks())
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","alg":"RS256","kid":"k"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := verify.ReadKeySet(data)
		if err == nil && len(keys) == 0 {
			t.Fatal("an empty set was taken")
		}
		for kid, k := range keys {
			if err != nil || kid != k.KeyID || kid == "" || !k.IsPublic() || strings.HasPrefix(k.Algorithm, "HS") {
				t.Fatalf("took %q: %+v", kid, k)
			}
		}
	})
}

// An accepted bearer token is one word, and never two headers.
func FuzzBearerToken(f *testing.F) {
	for _, s := range []string{"Bearer abc", "bearer  abc ", "Bearer", "Basic abc", "Bearer a b", "Bearer a,b", "Bearer \x00"} {
		f.Add(s, "")
	}
	f.Add("Bearer abc", "Bearer def")
	f.Fuzz(func(t *testing.T, first, second string) {
		r := &http.Request{Header: http.Header{"Authorization": {first}}}
		if second != "" {
			r.Header.Add("Authorization", second)
		}
		token, err := verify.BearerToken(r)
		if (err == nil) != (token != "") {
			t.Fatalf("%q: %q and %v", first, token, err)
		}
		if err == nil && (second != "" || strings.ContainsAny(token, " ,\t\r\n\x00") || !strings.Contains(first, token)) {
			t.Fatalf("%q, %q: %q", first, second, token)
		}
	})
}

// SEC-JWT-09: go-jose and we agree on every token that we accept.
func FuzzAgainstGoJose(f *testing.F) {
	i := newIssuer(f)
	f.Add(i.header(), i.payload())
	f.Add(strings.Replace(i.header(), `{`, `{"typ":"x",`, 1), i.payload())
	f.Add(i.header(), strings.Replace(i.payload(), `{`, `{"org_id":"org_2",`, 1))
	f.Fuzz(func(t *testing.T, header, payload string) {
		token := i.sign(header, payload)
		c, err := i.verifier().Verify(t.Context(), token)
		if err != nil {
			return
		}
		jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatalf("go-jose refuses %q: %v", header, err)
		}
		signed, err := jws.Verify(i.public())
		if err != nil || !bytes.Equal(signed, c.Raw) {
			t.Fatalf("go-jose reads %q (%v), we %q", signed, err, c.Raw)
		}
		if h := jws.Signatures[0].Header; h.KeyID != i.kid || h.Algorithm != "ES256" {
			t.Fatalf("go-jose reads the header as %+v", h)
		}
	})
}
