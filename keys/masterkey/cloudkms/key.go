//go:build cloudkms

// Package cloudkms wraps the master key with a key of a cloud's key management
// service: AWS KMS, Google Cloud KMS or Azure Key Vault. The key never leaves
// it. It needs the build tag cloudkms.
package cloudkms

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"gocloud.dev/secrets"
	_ "gocloud.dev/secrets/awskms"        // awskms:
	_ "gocloud.dev/secrets/azurekeyvault" // azurekeyvault:
	_ "gocloud.dev/secrets/gcpkms"        // gcpkms:
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// Schemes begin the URLs of keys.
const (
	AWS   = "awskms"
	GCP   = "gcpkms"
	Azure = "azurekeyvault"
)

// timeout bounds one call, with the retries of the cloud's library.
const timeout = 30 * time.Second

// Key is a key of a cloud. It is a sealing.Custodian.
type Key struct {
	name string // scheme, host and path of its URL
	open func(context.Context) (*secrets.Keeper, error)
}

var _ sealing.Custodian = (*Key)(nil)

// shape is what the URL must look like.
const shape = "write awskms:///key?region=r, gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k or azurekeyvault://name.vault.azure.net/keys/k"

// New returns the key that a URL names, in the form of gocloud.dev/secrets.
// Credentials are those that the cloud's own library finds, when it is asked.
func New(u *url.URL) (*Key, error) {
	switch {
	case u.Scheme != AWS && u.Scheme != GCP && u.Scheme != Azure, u.Host+u.Path == "" || u.Path == "/", u.User != nil, u.Opaque != "", u.Fragment != "":
		return nil, errors.New(shape)
	case u.Scheme != AWS && (u.Host == "" || u.Path == ""):
		return nil, errors.New(shape)
	}
	if text := u.Query().Get("endpoint"); text != "" {
		e, err := url.Parse(text)
		if err != nil || e.Scheme != "https" && !(e.Scheme == "http" && loopback(e.Hostname())) {
			return nil, errors.New("endpoint: it is shown the master key, so it must be https")
		}
	}
	address := u.String()
	return &Key{
		name: u.Scheme + "://" + u.Host + u.Path,
		open: func(ctx context.Context) (*secrets.Keeper, error) { return secrets.OpenKeeper(ctx, address) },
	}, nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// String implements sealing.Custodian.
func (k *Key) String() string { return "the key " + k.name }

// Wrap implements sealing.Custodian.
func (k *Key) Wrap(ctx context.Context, plain []byte) ([]byte, error) {
	return k.with(ctx, func(ctx context.Context, keeper *secrets.Keeper) ([]byte, error) { return k.seal(ctx, keeper, plain) })
}

// Unwrap implements sealing.Custodian.
func (k *Key) Unwrap(ctx context.Context, wrapped []byte) ([]byte, error) {
	// AWS opens with whichever key a ciphertext names: ours must be the one.
	sealed, ours := bytes.CutPrefix(wrapped, k.mark())
	if !ours {
		return nil, fmt.Errorf("%w: it is of a key with another URL", sealing.ErrNotWrapped)
	}
	return k.with(ctx, func(ctx context.Context, keeper *secrets.Keeper) ([]byte, error) {
		plain, err := keeper.Decrypt(ctx, sealed)
		if err == nil {
			return plain, nil
		}
		if err = failed(err); errors.Is(err, sealing.ErrAway) {
			return nil, err
		}
		// Each cloud says it in another way. A key that works shows that it is
		// this value's fault.
		if _, broken := k.seal(ctx, keeper, []byte("probe")); broken != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", sealing.ErrNotWrapped, err)
	})
}

// mark begins what is wrapped: a byte for the form, and which key it is of.
func (k *Key) mark() []byte {
	sum := sha256.Sum256([]byte(k.name))
	return append([]byte{1}, sum[:8]...)
}

// seal encrypts, and refuses what does not open again.
func (k *Key) seal(ctx context.Context, keeper *secrets.Keeper, plain []byte) ([]byte, error) {
	sealed, err := keeper.Encrypt(ctx, plain)
	if err != nil {
		return nil, failed(err)
	}
	again, err := keeper.Decrypt(ctx, sealed)
	if err != nil {
		return nil, failed(err)
	}
	if !bytes.Equal(again, plain) {
		return nil, errors.New("it gave back another value than it encrypted")
	}
	return append(k.mark(), sealed...), nil
}

func (k *Key) with(ctx context.Context, work func(context.Context, *secrets.Keeper) ([]byte, error)) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	keeper, err := k.open(ctx)
	if err != nil {
		return nil, failed(err)
	}
	defer func() { _ = keeper.Close() }()
	return work(ctx, keeper)
}

// failed tells a service that is away from what an operator must mend.
func failed(err error) error {
	if away(err) {
		return fmt.Errorf("%w: %w", sealing.ErrAway, err)
	}
	return err
}

func away(err error) bool {
	var network net.Error
	if errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	switch status.Code(err) { // Google
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Aborted:
		return true
	}
	var azure *azcore.ResponseError
	if errors.As(err, &azure) {
		return passing(azure.StatusCode)
	}
	var aws interface{ HTTPStatusCode() int }
	return errors.As(err, &aws) && passing(aws.HTTPStatusCode())
}

// passing says whether a reply's status may be another one in a moment.
func passing(code int) bool {
	return code == http.StatusTooManyRequests || code == http.StatusRequestTimeout || code >= http.StatusInternalServerError
}
