package outbound_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/outbound"
)

// Every test of this package runs with proxies in its environment, which must
// be of no effect.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		if err := os.Setenv(name, "http://proxy.example:3128"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// Addresses that are public, as far as the policy knows.
const (
	here  = "93.184.216.34"
	there = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
)

// internet is a resolver, a dialer and a certificate authority. Hosts of it
// have public addresses and run on this machine.
type internet struct {
	t    *testing.T
	root *x509.Certificate
	key  *ecdsa.PrivateKey

	mu      sync.Mutex
	names   map[string][]string // to addresses; what a test puts there is what the next lookup answers
	hosts   map[string]func(context.Context) (net.Conn, error)
	lookups []string
	dialed  []string
}

func newInternet(t *testing.T) *internet {
	t.Helper()
	i := &internet{t: t, names: map[string][]string{}, hosts: map[string]func(context.Context) (net.Conn, error){}}
	i.root, i.key = certificate(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "test root"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil)
	return i
}

func certificate(t *testing.T, c, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if parent == nil {
		parent, signer = c, key
	}
	c.SerialNumber = big.NewInt(1)
	c.NotBefore, c.NotAfter = time.Unix(0, 0), time.Unix(1<<33, 0)
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	got, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return got, key
}

// tls is the configuration of a server that the root vouches for.
func (i *internet) tls(names ...string) *tls.Config {
	leaf := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, n := range names {
		if a := net.ParseIP(n); a != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, a)
		} else {
			leaf.DNSNames = append(leaf.DNSNames, n)
		}
	}
	cert, key := certificate(i.t, leaf, i.root, i.key)
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
}

// client returns one that trusts the root.
func (i *internet) client() *outbound.Client {
	roots := x509.NewCertPool()
	roots.AddCert(i.root)
	return &outbound.Client{Resolver: i, Dialer: i, Roots: roots}
}

// serve runs a site named host at address, port 443.
func (i *internet) serve(host, address string, h http.Handler) {
	i.t.Helper()
	i.serveAs(host, address, h, i.tls(host))
}

func (i *internet) serveAs(host, address string, h http.Handler, conf *tls.Config) {
	i.t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.TLS = conf
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	i.t.Cleanup(s.Close)
	i.name(host, address)
	i.host(netip.AddrPortFrom(netip.MustParseAddr(address), 443).String(), func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", s.Listener.Addr().String())
	})
}

func (i *internet) name(host string, addresses ...string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.names[host] = addresses
}

func (i *internet) host(addrPort string, dial func(context.Context) (net.Conn, error)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.hosts[addrPort] = dial
}

func (i *internet) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.lookups = append(i.lookups, host)
	found, ok := i.names[host]
	if !ok {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	addrs := make([]netip.Addr, len(found))
	for n, a := range found {
		addrs[n] = netip.MustParseAddr(a)
	}
	return addrs, nil
}

func (i *internet) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	i.mu.Lock()
	i.dialed = append(i.dialed, address)
	dial, ok := i.hosts[address]
	i.mu.Unlock()
	if !ok {
		return nil, errors.New("connection refused")
	}
	return dial(ctx)
}

// went checks which connections were tried since it last looked.
func (i *internet) went(want ...string) {
	i.t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	if !slices.Equal(i.dialed, want) {
		i.t.Errorf("connected to %q, want %q", i.dialed, want)
	}
	i.dialed = nil
}

// asked returns how many names were looked up.
func (i *internet) asked() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.lookups)
}

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = w.Write([]byte(body))
	}
}

func fails(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}
