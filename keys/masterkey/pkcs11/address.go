//go:build pkcs11 && cgo

package pkcs11

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
)

// address says where a key is, as far as its URI tells. What is empty matches
// everything.
type address struct {
	token, manufacturer, model, serial string
	object, id                         string
	module, pinFile                    string
}

// shape is what the URI must look like.
const shape = "write pkcs11:token=label-of-the-token;object=label-of-the-key?module-path=/path/of/its/module.so, with &pin-source=file:/path where needed"

// parse reads a URI (RFC 7512 §2.3). Attributes that it does not know are
// refused: they would narrow the choice, or name a PIN.
func parse(u *url.URL) (a address, err error) {
	if u.Opaque == "" || u.Fragment != "" {
		return a, errors.New(shape)
	}
	fields := map[string]*string{
		"token": &a.token, "manufacturer": &a.manufacturer, "model": &a.model, "serial": &a.serial, "object": &a.object, "id": &a.id, "type": new(string),
	}
	if err := attributes(u.Opaque, ";", fields); err != nil {
		return a, err
	}
	if kind := *fields["type"]; kind != "" && kind != "secret-key" {
		return a, errors.New("type: only a secret-key wraps a master key")
	}
	if err := attributes(u.RawQuery, "&", map[string]*string{"module-path": &a.module, "pin-source": &a.pinFile}); err != nil {
		return a, err
	}
	if a.token == "" && a.serial == "" || a.object == "" && a.id == "" || !filepath.IsAbs(a.module) {
		return a, errors.New(shape)
	}
	if a.pinFile != "" {
		a.pinFile = strings.TrimPrefix(strings.TrimPrefix(a.pinFile, "file://"), "file:")
		if !filepath.IsAbs(a.pinFile) {
			return a, errors.New("pin-source: write file:/path")
		}
	}
	return a, nil
}

// attributes puts name=value into fields. Its errors quote no value.
func attributes(text, separator string, fields map[string]*string) error {
	seen := map[string]bool{}
	for part := range strings.SplitSeq(text, separator) {
		name, value, ok := strings.Cut(part, "=")
		switch field := fields[name]; {
		case part == "":
		case name == "pin-value":
			return errors.New("a PIN has no place in the URI: set TOKENHOUSE_KEY_SEALER_TOKEN, or pin-source=file:/path")
		case field == nil || !ok:
			return fmt.Errorf("there is no %q; %s", name, shape)
		case seen[name]: // RFC 7512 §2.3: at most once
			return fmt.Errorf("%s is there twice", name)
		default:
			plain, err := url.PathUnescape(value)
			if err != nil {
				return fmt.Errorf("%s is not percent-encoded as it must be", name)
			}
			*field, seen[name] = plain, true
		}
	}
	return nil
}

// key is the name of the key, for operators.
func (a address) key() string {
	if a.object != "" {
		return a.object
	}
	return fmt.Sprintf("with the id %x", a.id)
}

// tokenName is the name of the token, for operators.
func (a address) tokenName() string {
	if a.token != "" {
		return a.token
	}
	return "with the serial number " + a.serial
}
