package server

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/fault"
)

func TestCredential(t *testing.T) {
	const key, jwt = "th_live_AAAA", "aaa.bbb.ccc"
	for _, c := range []struct {
		name    string
		headers []string
		want    presented
		err     fault.Code
	}{
		{"K19: nothing", nil, presented{}, fault.Unauthenticated},
		{"K7: bearer", []string{"Authorization", "Bearer " + jwt}, presented{kindToken, jwt, false}, ""},
		{"K7: any case of the scheme", []string{"Authorization", "bEARER " + jwt}, presented{kindToken, jwt, false}, ""},
		{"K14: any case of the header", []string{"x-aPI-kEY", key}, presented{kindAPIKey, key, false}, ""},
		{"K14 SEC-KEY-16: a key as Bearer", []string{"Authorization", "Bearer " + key}, presented{kindAPIKey, key, false}, ""},
		{"SEC-KEY-16: a JWT as key is judged as a key", []string{"X-API-Key", jwt}, presented{kindAPIKey, jwt, false}, ""},
		{"a JWT that begins like a key", []string{"Authorization", "Bearer th_live_a.b.c"}, presented{kindToken, "th_live_a.b.c", false}, ""},
		{"another prefix as Bearer is no key", []string{"Authorization", "Bearer kw_live_AAAA"}, presented{kindToken, "kw_live_AAAA", false}, ""},
		{"O39: Bearer without a token", []string{"Authorization", "Bearer"}, presented{}, fault.Unauthenticated},
		{"Bearer and a space", []string{"Authorization", "Bearer "}, presented{}, fault.Unauthenticated},
		{"an empty header is a header", []string{"Authorization", "", "Cookie", "th_access=" + jwt}, presented{}, fault.Unauthenticated},
		{"Basic", []string{"Authorization", "Basic eDp5", "Cookie", "th_access=" + jwt}, presented{}, fault.Unauthenticated},
		{"two tokens", []string{"Authorization", "Bearer a b"}, presented{}, fault.InvalidToken},
		{"a list", []string{"Authorization", "Bearer a, Bearer b"}, presented{}, fault.InvalidToken},
		{"not a token", []string{"Authorization", "Bearer \u00e9"}, presented{}, fault.InvalidToken},
		{"O6: the cookie", []string{"Cookie", "th_access=" + jwt}, presented{kindToken, jwt, true}, ""},
		{"SEC-WEB-08: the header goes before the cookie", []string{"Authorization", "Bearer x.y.z", "Cookie", "th_access=" + jwt}, presented{kindToken, "x.y.z", false}, ""},
		{"SEC-WEB-08: the key goes before the cookie", []string{"X-API-Key", key, "Cookie", "th_access=" + jwt}, presented{kindAPIKey, key, false}, ""},
		{"a planted second cookie", []string{"Cookie", "th_access=" + jwt + "; th_access=x.y.z"}, presented{}, fault.AmbiguousCredentials},
		{"the same cookie twice", []string{"Cookie", "th_access=" + jwt + "; th_access=" + jwt}, presented{kindToken, jwt, true}, ""},
		{"the cookie of the other mode", []string{"Cookie", "__Host-th_access=" + jwt}, presented{}, fault.Unauthenticated},
		{"an empty cookie", []string{"Cookie", "th_access="}, presented{}, fault.Unauthenticated},
		{"SEC-KEY-15: X-API-Key twice", []string{"X-API-Key", key, "X-API-Key", key}, presented{}, fault.AmbiguousCredentials},
		{"SEC-KEY-15: Authorization twice", []string{"Authorization", "Bearer " + jwt, "Authorization", "Bearer " + jwt}, presented{}, fault.AmbiguousCredentials},
		{"SEC-KEY-15: a key and a token", []string{"X-API-Key", key, "Authorization", "Bearer " + jwt}, presented{}, fault.AmbiguousCredentials},
		{"SEC-KEY-15: two keys", []string{"X-API-Key", key, "Authorization", "Bearer " + key + "B"}, presented{}, fault.AmbiguousCredentials},
		{"SEC-KEY-15: an empty key and a token", []string{"X-API-Key", "", "Authorization", "Bearer " + jwt}, presented{}, fault.AmbiguousCredentials},
		{"SEC-KEY-15: a key and no token", []string{"X-API-Key", key, "Authorization", "Bearer"}, presented{}, fault.AmbiguousCredentials},
		{"SEC-KEY-15: one key, named twice", []string{"X-API-Key", key, "Authorization", "Bearer " + key}, presented{kindAPIKey, key, false}, ""},
		{"SEC-KEY-15: an empty key alone is a key", []string{"X-API-Key", ""}, presented{kindAPIKey, "", false}, ""},
		{"SEC-KEY-15: an empty key does not fall back to the cookie", []string{"X-API-Key", "", "Cookie", "th_access=" + jwt}, presented{kindAPIKey, "", false}, ""},
		{"SEC-KEY-15: 8 kB", []string{"X-API-Key", strings.Repeat("x", 8192)}, presented{kindAPIKey, strings.Repeat("x", 8192), false}, ""},
		{"an underscore is another header", []string{"X_API_Key", key}, presented{}, fault.Unauthenticated},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _ := bare(t, Config{})
			r := httptest.NewRequest(http.MethodGet, "/?access_token="+jwt+"&api_key="+key, nil)
			for i := 0; i < len(c.headers); i += 2 {
				r.Header.Add(c.headers[i], c.headers[i+1])
			}
			got, err := s.credential(r)
			if c.err == "" && (err != nil || got != c.want) {
				t.Errorf("got %+v, %v", got, err)
			}
			if c.err != "" && !errors.Is(err, c.err) {
				t.Errorf("got %+v, %v; want %s", got, err, c.err)
			}
		})
	}
}

func FuzzBearer(f *testing.F) {
	for _, s := range []string{"Bearer a.b.c", "bearer x", "Bearer", "Basic x", "Bearer  a", "Bearer a b", "Bearer \x00", "", "BEARER\ta"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		token, err := bearer(header)
		if err != nil {
			if !errors.Is(err, fault.Unauthenticated) && !errors.Is(err, fault.InvalidToken) {
				t.Fatalf("%q: %v", header, err)
			}
			return
		}
		if token == "" || strings.ContainsAny(token, " \t\r\n,;\"\x00") || !strings.HasSuffix(strings.TrimRight(header, " "), token) {
			t.Fatalf("%q gave %q", header, token)
		}
	})
}

func FuzzCookie(f *testing.F) {
	for _, s := range []string{"th_access=a", "th_access=a; th_access=b", "th_access=\"a\"", "=", ";;;", "th_access", "th_access=\x00", strings.Repeat("a=b; ", 50)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Cookie"] = []string{header}
		v, err := cookie(r, "th_access")
		if err != nil && !errors.Is(err, fault.AmbiguousCredentials) {
			t.Fatal(err)
		}
		if v != "" && !strings.Contains(header, v) {
			t.Fatalf("%q gave %q", header, v)
		}
	})
}
