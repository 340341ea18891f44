//go:build cloudkms

package cloudkms

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"gocloud.dev/secrets"
	"gocloud.dev/secrets/localsecrets"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

var masterKey = []byte("0123456789abcdefghijklmnopqrstu\xff")

// local is a key of gocloud's keeper in this process.
func local(t *testing.T, name string) *Key {
	t.Helper()
	secretKey, err := localsecrets.NewRandomKey()
	if err != nil {
		t.Fatal(err)
	}
	return &Key{name: name, open: func(context.Context) (*secrets.Keeper, error) { return localsecrets.NewKeeper(secretKey), nil }}
}

// service answers as AWS KMS does: JSON, the operation in a header, the key's
// name in the ciphertext. No cloud can be reached from a test.
type service struct {
	aead cipher.AEAD
	fail func(w http.ResponseWriter, operation string) bool
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	operation := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ") {
		refuse(w, http.StatusBadRequest, "MissingAuthenticationTokenException")
		return
	}
	if s.fail != nil && s.fail(w, operation) {
		return
	}
	var ask struct {
		KeyId                     string
		Plaintext, CiphertextBlob []byte
	}
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
		refuse(w, http.StatusBadRequest, "SerializationException")
		return
	}
	switch operation {
	case "Encrypt":
		_ = json.NewEncoder(w).Encode(map[string]any{"KeyId": ask.KeyId, "CiphertextBlob": append([]byte(ask.KeyId+"\n"), s.aead.Seal(nil, nil, ask.Plaintext, []byte(ask.KeyId))...)})
	case "Decrypt":
		name, sealed, _ := bytes.Cut(ask.CiphertextBlob, []byte("\n"))
		plain, err := s.aead.Open(nil, nil, sealed, name)
		if err != nil {
			refuse(w, http.StatusBadRequest, "InvalidCiphertextException")
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"KeyId": string(name), "Plaintext": plain})
	}
}

func refuse(w http.ResponseWriter, code int, kind string) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": kind, "message": "no"})
}

// aws starts a service and returns a maker of its keys.
func aws(t *testing.T, s *service) func(name string) *Key {
	t.Helper()
	block, err := aes.NewCipher([]byte(rand.Text() + rand.Text())[:32])
	if err != nil {
		t.Fatal(err)
	}
	if s.aead, err = cipher.NewGCMWithRandomNonce(block); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return func(name string) *Key {
		u, err := url.Parse("awskms:///" + name + "?region=eu-central-1&endpoint=" + url.QueryEscape(srv.URL))
		if err != nil {
			t.Fatal(err)
		}
		k, err := New(u)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
}

func TestAKeyWrapsAndUnwraps(t *testing.T) {
	named := aws(t, &service{})
	for name, c := range map[string]struct{ key, other *Key }{
		"gocloud's local keeper": {local(t, "one"), local(t, "other")},
		"the same name":          {local(t, "one"), local(t, "one")},
		"the protocol of AWS":    {named("alias/one"), named("alias/other")},
	} {
		t.Run(name, func(t *testing.T) {
			wrapped, err := c.key.Wrap(t.Context(), masterKey)
			if err != nil || bytes.Contains(wrapped, masterKey) {
				t.Fatalf("Wrap = %q, %v", wrapped, err)
			}
			if got, err := c.key.Unwrap(t.Context(), wrapped); err != nil || !bytes.Equal(got, masterKey) {
				t.Errorf("Unwrap = %q, %v", got, err)
			}
			others, err := c.other.Wrap(t.Context(), masterKey)
			if err != nil {
				t.Fatal(err)
			}
			damaged := bytes.Clone(wrapped)
			damaged[len(damaged)-1] ^= 1
			for what, w := range map[string][]byte{"another key's": others, "damaged": damaged, "nothing": nil, "nonsense": []byte("vault:v1:AAAA"), "the mark alone": wrapped[:9]} {
				if got, err := c.key.Unwrap(t.Context(), w); !errors.Is(err, sealing.ErrNotWrapped) || errors.Is(err, sealing.ErrAway) || got != nil {
					t.Errorf("%s: %q, %v; want ErrNotWrapped", what, got, err)
				}
			}
		})
	}
}

// What waiting mends is told from what an operator mends.
func TestAServiceThatDoesNotAnswerAsItShould(t *testing.T) {
	s := &service{}
	k := aws(t, s)("alias/one")
	wrapped, err := k.Wrap(t.Context(), masterKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		code int
		kind string
		away bool
	}{
		"broken":      {http.StatusInternalServerError, "KMSInternalException", true},
		"away":        {http.StatusServiceUnavailable, "DependencyTimeoutException", true},
		"not allowed": {http.StatusBadRequest, "AccessDeniedException", false},
		"disabled":    {http.StatusBadRequest, "DisabledException", false},
	} {
		s.fail = func(w http.ResponseWriter, operation string) bool {
			refuse(w, c.code, c.kind)
			return true
		}
		_, err := k.Unwrap(t.Context(), wrapped)
		if err == nil || errors.Is(err, sealing.ErrAway) != c.away || errors.Is(err, sealing.ErrNotWrapped) {
			t.Errorf("%s: %v; away: %v", name, err, c.away)
		}
	}
	nobody, err := url.Parse("awskms:///alias/one?region=eu-central-1&endpoint=http://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	if k, err = New(nobody); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Wrap(t.Context(), masterKey); !errors.Is(err, sealing.ErrAway) {
		t.Errorf("nobody listens: %v; want ErrAway", err)
	}
}

// The other clouds' answers, which no stand-in gives: as their libraries shape them.
func TestAnswersOfTheOtherClouds(t *testing.T) {
	for _, c := range []struct {
		err  error
		away bool
	}{
		{status.Error(codes.Unavailable, "x"), true},
		{status.Error(codes.PermissionDenied, "x"), false},
		{status.Error(codes.InvalidArgument, "x"), false},
		{&azcore.ResponseError{StatusCode: http.StatusServiceUnavailable}, true},
		{&azcore.ResponseError{StatusCode: http.StatusTooManyRequests}, true},
		{&azcore.ResponseError{StatusCode: http.StatusForbidden}, false},
	} {
		if err := failed(c.err); errors.Is(err, sealing.ErrAway) != c.away {
			t.Errorf("%v: away: %v", c.err, !c.away)
		}
	}
}

func TestURLsThatNameNoKey(t *testing.T) {
	for text, good := range map[string]bool{
		"awskms:///arn:aws:kms:eu-central-1:111122223333:alias/x?region=eu-central-1": true,
		"awskms://alias/x?region=eu-central-1":                                        true,
		"gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k":                     true,
		"azurekeyvault://name.vault.azure.net/keys/k":                                 true,
		"awskms://": false, "awskms:///": false, "gcpkms:///p": false, "azurekeyvault://name": false,
		"awskms://user:hunter2@alias/x": false, "base64key://": false, "base64key://AAAA/x": false, "awskms:x": false, "awskms://alias/x#y": false,
		"awskms://alias/x?region=r&endpoint=http://kms.example": false, "awskms://alias/x?region=r&endpoint=https://kms.example": true,
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if k, err := New(u); (err == nil) != good || err != nil && strings.Contains(err.Error(), "hunter2") || k != nil && strings.Contains(k.String(), "endpoint") {
			t.Errorf("%s: %v, %v", text, k, err)
		}
	}
}
