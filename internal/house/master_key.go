package house

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/masterkey"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// masterKeySize is the size of a generated master key in bytes.
const masterKeySize = 32

// masterKeyFile is the name of the generated key within the data directory.
const masterKeyFile = "master.key"

// masterKeyRecipe tells how to make a master key.
const masterKeyRecipe = "make one with: head -c 32 /dev/urandom | base64"

// masterKeySource finds where the master key comes from. The note says it in
// words, for the operator.
func (c Config) masterKeySource(random io.Reader) (masterkey.Source, string, error) {
	if c.Sealing.KeySealer != "" {
		custodian, err := c.custodian(c.Sealing.KeySealer)
		if err != nil {
			return masterkey.Source{}, "", fmt.Errorf("key_sealer: %w", err)
		}
		return masterkey.Source{Custodian: custodian}, "wrapped by " + custodian.String(), nil
	}
	key, note, err := c.masterKey(random)
	return masterkey.Source{Key: key}, note, err
}

// previousMasterKey finds where the earlier one comes from; the zero Source
// where there is none.
func (c Config) previousMasterKey() (masterkey.Source, error) {
	p := c.Sealing.Previous
	path := p.MasterKeyFile
	if credential := filepath.Join(c.Sealing.Credentials, "master_key_previous"); path == "" && c.Sealing.Credentials != "" && exists(credential) {
		path = credential
	}
	switch {
	case !p.MasterKey.IsZero():
		return masterkey.Source{Key: []byte(p.MasterKey.Reveal())}, nil
	case p.KeySealer != "":
		custodian, err := c.custodian(p.KeySealer)
		if err != nil {
			return masterkey.Source{}, fmt.Errorf("key_sealer_previous: %w", err)
		}
		return masterkey.Source{Custodian: custodian}, nil
	case path != "":
		key, err := readMasterKey(path)
		return masterkey.Source{Key: key}, err
	default:
		return masterkey.Source{}, nil
	}
}

// masterKey finds the master key, or makes one for a server on loopback. The
// note says, for the operator, where it came from.
func (c Config) masterKey(random io.Reader) (key []byte, note string, err error) {
	own := filepath.Join(c.DataDir, masterKeyFile)
	switch path, configured := c.masterKeyPath(); {
	case !c.Sealing.MasterKey.IsZero():
		return []byte(c.Sealing.MasterKey.Reveal()), "the configured one", nil
	case configured:
		key, err = readMasterKey(path)
		return key, "read from " + path, err
	case exists(own):
		key, err = readMasterKey(own)
		return key, "read from " + own, err
	case !c.Development():
		return nil, "", fmt.Errorf("there is no master key, and one is made up for a loopback issuer only: set TOKENHOUSE_MASTER_KEY_FILE (%s)", masterKeyRecipe)
	}
	return makeMasterKey(own, random)
}

// masterKeyPath is the file that the configuration names, or that systemd hands us.
func (c Config) masterKeyPath() (string, bool) {
	if c.Sealing.MasterKeyFile != "" {
		return c.Sealing.MasterKeyFile, true
	}
	if c.Sealing.Credentials != "" {
		if p := filepath.Join(c.Sealing.Credentials, "master_key"); exists(p) {
			return p, true
		}
	}
	return "", false
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// readMasterKey reads a file in one of the forms that sealing.NewLocal takes.
func readMasterKey(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the master key: %w", err)
	}
	if _, err := sealing.NewLocal(raw); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return raw, nil
}

// makeMasterKey writes a new key that only we may read. Of two processes that
// start together, both use the file that was first.
func makeMasterKey(path string, random io.Reader) ([]byte, string, error) {
	random32, err := secret.Bytes(random, masterKeySize)
	if err != nil {
		return nil, "", err
	}
	key := []byte(base64.StdEncoding.EncodeToString(random32) + "\n")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, "", fmt.Errorf("make the data directory: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), masterKeyFile+".*") // mode 0600
	if err != nil {
		return nil, "", fmt.Errorf("make the master key: %w", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.Write(key)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return nil, "", fmt.Errorf("make the master key: %w", err)
	}
	switch err := os.Link(tmp.Name(), path); {
	case errors.Is(err, fs.ErrExist):
		key, err := readMasterKey(path)
		return key, "read from " + path, err
	case err != nil:
		return nil, "", fmt.Errorf("make the master key: %w", err)
	}
	return key, "made in " + path + "; keep a copy: without it the database is of no use", nil
}

// checkSealing reads the key where it is configured, so that a wrong one is
// found before the server starts.
func (c Config) checkSealing(f *findings) {
	s := c.Sealing
	c.checkPrevious(f)
	if s.KeySealer != "" {
		if _, err := c.custodian(s.KeySealer); err != nil {
			f.mistake("key_sealer", err.Error(), "the URL of a key management service, or master_key_file instead")
		}
		if !s.MasterKey.IsZero() || s.MasterKeyFile != "" {
			f.mistake("key_sealer", "master_key or master_key_file is set as well", "one of them; the earlier one of a deployment that changes is master_key_previous or master_key_previous_file")
		}
		return
	}
	if !s.MasterKey.IsZero() && s.MasterKeyFile != "" {
		f.mistake("master_key", "master_key_file is set as well", "one of the two")
	}
	if !s.MasterKey.IsZero() {
		if _, err := sealing.NewLocal([]byte(s.MasterKey.Reveal())); err != nil {
			f.mistake("master_key", "it is too short to be one", "32 random bytes in base64; "+masterKeyRecipe)
		}
	}
	path, configured := c.masterKeyPath()
	if !configured {
		path = filepath.Join(c.DataDir, masterKeyFile)
		if !exists(path) {
			if s.MasterKey.IsZero() && strings.HasPrefix(c.Issuer, "https://") {
				f.mistake("master_key_file", "there is no master key, and one is made up for a loopback issuer only", "a file with a master key; "+masterKeyRecipe)
			}
			return
		}
	}
	if _, err := readMasterKey(path); err != nil {
		f.mistake("master_key_file", err.Error(), "a file with 32 bytes in base64; "+masterKeyRecipe)
	} else if problem, ours := readableByOthers(path); problem != "" && ours {
		f.mistake("master_key_file", problem, "chmod 600 "+path)
	} else if problem != "" {
		// A mounted secret, as container engines make them: who may enter the
		// container is what protects it.
		f.warn("master_key_file", problem, "a mode of 0400 in the mount, where it can be chosen")
	}
}

// checkPrevious reads the earlier master key where one is configured.
func (c Config) checkPrevious(f *findings) {
	p := c.Sealing.Previous
	given := 0
	for _, set := range []bool{!p.MasterKey.IsZero(), p.MasterKeyFile != "", p.KeySealer != ""} {
		if set {
			given++
		}
	}
	if given > 1 {
		f.mistake("master_key_previous", "there is more than one earlier master key", "one of master_key_previous, master_key_previous_file and key_sealer_previous")
	}
	source, err := c.previousMasterKey()
	if err == nil && source.Key != nil {
		_, err = sealing.NewLocal(source.Key)
	}
	if err != nil {
		f.mistake("master_key_previous", err.Error(), "the master key that the database was sealed under, or none once everything is sealed anew")
	}
}

// readableByOthers says so, or is empty; and whether the file is ours to change.
func readableByOthers(path string) (problem string, ours bool) {
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm()&0o007 == 0 {
		return "", false
	}
	return fmt.Sprintf("every user of this machine may read %s (mode %04o)", path, st.Mode().Perm()), os.Chmod(path, st.Mode().Perm()) == nil
}
