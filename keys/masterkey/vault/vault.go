// Package vault wraps the master key with a key of the transit engine of Vault
// or OpenBao, over HTTP. The key never leaves it.
package vault

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// Bounds of one request.
const (
	timeout      = 10 * time.Second
	maxReply     = 64 << 10
	maxTokenFile = 16 << 10
)

// Transit is one key of a transit engine. It is a sealing.Custodian.
type Transit struct {
	base      string // scheme and host
	mount     string
	key       string
	namespace string
	token     secret.Plain
	tokenFile string
	client    *http.Client
}

var _ sealing.Custodian = (*Transit)(nil)

// Scheme begins the URL of a Transit; with InsecureScheme it is asked in clear
// HTTP, which is for this machine only.
const (
	Scheme         = "vault"
	InsecureScheme = "vault+http"
)

// shape is what the URL must look like.
const shape = "write vault://host:8200/transit/name-of-the-key, with ?token_file=, ?ca_file= and ?namespace= where needed"

// New returns the key that a URL names: vault://host:port/mount/key. token is
// shown to the engine, unless the URL names a token_file, which is read anew
// for each request, as an agent renews it. ca_file names the certificates (PEM)
// that the engine's must descend from, instead of the system's.
func New(u *url.URL, token secret.Plain) (*Transit, error) {
	t := &Transit{token: token, client: &http.Client{
		Timeout: timeout,
		// A redirection would be shown the token.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	path := strings.Trim(u.Path, "/")
	cut := strings.LastIndex(path, "/")
	if u.Host == "" || cut <= 0 || u.User != nil || u.Fragment != "" {
		return nil, errors.New(shape)
	}
	t.mount, t.key = path[:cut], path[cut+1:]
	switch {
	case u.Scheme == Scheme:
		t.base = "https://" + u.Host
	case u.Scheme == InsecureScheme && loopback(u.Hostname()):
		t.base = "http://" + u.Host
	default:
		return nil, fmt.Errorf("%s is for this machine only; %s", InsecureScheme, shape)
	}
	transport := &http.Transport{TLSHandshakeTimeout: timeout, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	t.client.Transport = transport
	for name, values := range u.Query() {
		value := values[0]
		switch name {
		case "token_file":
			t.tokenFile = value
		case "namespace":
			t.namespace = value
		case "ca_file":
			roots, err := certificates(value)
			if err != nil {
				return nil, err
			}
			transport.TLSClientConfig.RootCAs = roots
		default:
			return nil, fmt.Errorf("there is no %q; %s", name, shape)
		}
	}
	if t.tokenFile == "" && t.token.IsZero() {
		return nil, errors.New("it needs a token: set TOKENHOUSE_KEY_SEALER_TOKEN, or ?token_file= in the URL")
	}
	return t, nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func certificates(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file %s holds no certificate in PEM", path)
	}
	return roots, nil
}

// String implements sealing.Custodian.
func (t *Transit) String() string {
	return "the transit key " + t.mount + "/" + t.key + " at " + strings.TrimPrefix(strings.TrimPrefix(t.base, "https://"), "http://")
}

// Wrap implements sealing.Custodian.
func (t *Transit) Wrap(ctx context.Context, plain []byte) ([]byte, error) {
	r, err := t.ask(ctx, "encrypt", message{Plaintext: plain})
	return []byte(r.Ciphertext), err
}

// Unwrap implements sealing.Custodian.
func (t *Transit) Unwrap(ctx context.Context, wrapped []byte) ([]byte, error) {
	r, err := t.ask(ctx, "decrypt", message{Ciphertext: string(wrapped)})
	return r.Plaintext, err
}

// Rewrap wraps with the newest version of the key what an earlier one wrapped.
// The engine tells nobody what it holds.
func (t *Transit) Rewrap(ctx context.Context, wrapped []byte) ([]byte, error) {
	r, err := t.ask(ctx, "rewrap", message{Ciphertext: string(wrapped)})
	return []byte(r.Ciphertext), err
}

// message is what the engine is told and tells. []byte is base64 in JSON, as
// the engine wants it.
type message struct {
	Plaintext  []byte `json:"plaintext,omitempty"`
	Ciphertext string `json:"ciphertext,omitempty"`
}

func (t *Transit) ask(ctx context.Context, operation string, question message) (message, error) {
	body, err := json.Marshal(question)
	if err != nil {
		return message{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.base+"/v1/"+t.mount+"/"+operation+"/"+url.PathEscape(t.key), bytes.NewReader(body))
	if err != nil {
		return message{}, err
	}
	token, err := t.credential()
	if err != nil {
		return message{}, err
	}
	req.Header.Set("X-Vault-Token", token.Reveal())
	req.Header.Set("X-Vault-Request", "true") // what its own clients send, against forged requests
	if t.namespace != "" {
		req.Header.Set("X-Vault-Namespace", t.namespace)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := t.client.Do(req)
	if err != nil {
		return message{}, unreachable(err)
	}
	defer func() { _ = res.Body.Close() }()
	read, err := io.ReadAll(io.LimitReader(res.Body, maxReply+1))
	if err != nil {
		return message{}, fmt.Errorf("%w: %w", sealing.ErrAway, err)
	}
	if len(read) > maxReply {
		return message{}, fmt.Errorf("it answered more than %d bytes", maxReply)
	}
	return judge(operation, res.StatusCode, read)
}

// credential is the token to show.
func (t *Transit) credential() (secret.Plain, error) {
	if t.tokenFile == "" {
		return t.token, nil
	}
	f, err := os.Open(t.tokenFile)
	if err != nil {
		// An agent may write it a moment later.
		return secret.Plain{}, fmt.Errorf("%w: token_file: %w", sealing.ErrAway, err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxTokenFile))
	if err != nil {
		return secret.Plain{}, fmt.Errorf("token_file: %w", err)
	}
	text := strings.TrimSpace(string(b))
	if text == "" || strings.ContainsAny(text, "\r\n") {
		return secret.Plain{}, fmt.Errorf("token_file: %s holds no token on one line", t.tokenFile)
	}
	return secret.Of(text), nil
}

// unreachable tells a broken certificate, which waiting does not mend, from an
// engine that is away.
func unreachable(err error) error {
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return err
	}
	var network net.Error
	if errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", sealing.ErrAway, err)
	}
	return err
}

// judge reads an answer. Nothing of a good one is ever part of an error.
func judge(operation string, status int, body []byte) (message, error) {
	switch {
	case status == http.StatusOK:
		var r struct{ Data message }
		if err := json.Unmarshal(body, &r); err != nil || r.Data.Ciphertext == "" && operation != "decrypt" || len(r.Data.Plaintext) == 0 && operation == "decrypt" {
			return message{}, fmt.Errorf("its answer to %s is not one of a transit engine", operation)
		}
		return r.Data, nil
	case status == http.StatusBadRequest && operation != "encrypt":
		return message{}, fmt.Errorf("%w: %s", sealing.ErrNotWrapped, complaint(body))
	case status == http.StatusForbidden:
		return message{}, fmt.Errorf("it refuses our token (403): %s; the token's policy must allow update on encrypt, decrypt and rewrap of this key", complaint(body))
	case status == http.StatusNotFound:
		return message{}, fmt.Errorf("it has no such transit engine or key (404): %s", complaint(body))
	case status == http.StatusTooManyRequests, status == http.StatusPreconditionFailed, status >= 470: // sealed, standing by, busy
		return message{}, fmt.Errorf("%w: it answers %d: %s", sealing.ErrAway, status, complaint(body))
	default:
		return message{}, fmt.Errorf("it answers %s with %d: %s", operation, status, complaint(body))
	}
}

// complaint is what the engine says is wrong, shortened.
func complaint(body []byte) string {
	var r struct{ Errors []string }
	if json.Unmarshal(body, &r) != nil || len(r.Errors) == 0 {
		return "no reason is given"
	}
	text := strings.Join(strings.Fields(strings.Join(r.Errors, "; ")), " ")
	return text[:min(len(text), 300)]
}
