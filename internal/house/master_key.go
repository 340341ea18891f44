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
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// masterKeySize is the size of a generated master key in bytes.
const masterKeySize = 32

// masterKeyFile is the name of the generated key within the data directory.
const masterKeyFile = "master.key"

// masterKeyRecipe tells how to make a master key.
const masterKeyRecipe = "make one with: head -c 32 /dev/urandom | base64"

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
	if s.KeySealer != "" {
		f.mistake("key_sealer", "no key management service is supported by this release", "master_key_file")
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

// readableByOthers says so, or is empty; and whether the file is ours to change.
func readableByOthers(path string) (problem string, ours bool) {
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm()&0o007 == 0 {
		return "", false
	}
	return fmt.Sprintf("every user of this machine may read %s (mode %04o)", path, st.Mode().Perm()), os.Chmod(path, st.Mode().Perm()) == nil
}
