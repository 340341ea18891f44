package house

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/masterkey"
	"github.com/tokenhouse/tokenhouse/keys/masterkey/vault"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// custodian is the key management service that a URL names. It is not asked
// anything yet.
func (c Config) custodian(text string) (sealing.Custodian, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("it is not a well-formed URL") // the error would quote it
	}
	token, err := c.sealerToken()
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case vault.Scheme, vault.InsecureScheme:
		return vault.New(u, token)
	case "pkcs11":
		return pkcs11Key(u, token)
	case "awskms", "gcpkms", "azurekeyvault":
		return cloudKey(u)
	default:
		return nil, fmt.Errorf("no key management service is known by %q; use vault://host/transit/key, or pkcs11:, awskms:, gcpkms: or azurekeyvault: with their build tags", before(text, ":"))
	}
}

// sealerToken is what is shown to the key management service: as configured, or
// a credential that systemd hands us.
func (c Config) sealerToken() (secret.Plain, error) {
	if s := c.Sealing; s.SealerToken.IsZero() && s.Credentials != "" {
		path := filepath.Join(s.Credentials, "key_sealer_token")
		if !exists(path) {
			return secret.Plain{}, nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return secret.Plain{}, fmt.Errorf("read the token for the key management service: %w", err)
		}
		return secret.Of(strings.TrimSpace(string(b))), nil
	}
	return c.Sealing.SealerToken, nil
}

// openMasterKey unlocks the master key, which the database must be there for. A
// patient server waits for a key management service that does not answer; once
// it has answered it is not needed any more.
func (h *House) openMasterKey(ctx context.Context) error {
	given, note, err := h.conf.masterKeySource(h.env.Random)
	if err != nil {
		return err
	}
	h.parts.masterKey = note
	earlier, err := h.conf.previousMasterKey()
	if err != nil {
		return err
	}
	h.parts.master = &masterkey.Master{Store: h.DB.MasterKey(), Given: given, Earlier: earlier, Now: h.env.Now, Random: h.env.Random, Logger: h.env.Logger}
	err = h.parts.master.Unlock(ctx)
	for n := 0; errors.Is(err, sealing.ErrAway) && h.env.Patient && ctx.Err() == nil; n++ {
		if n%10 == 0 {
			h.env.Logger.WarnContext(ctx, "the key management service does not answer; trying again every second", "err", err)
		}
		retry := time.NewTimer(retryDatabase)
		select {
		case <-retry.C:
		case <-ctx.Done():
		}
		retry.Stop()
		err = h.parts.master.Unlock(ctx)
	}
	return err
}

// MasterKey is what everything secret in the database is sealed under.
func (h *House) MasterKey() *masterkey.Master { return h.parts.master }
