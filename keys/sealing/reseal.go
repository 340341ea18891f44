package sealing

import "encoding/hex"

// Fingerprint names the first master key of l without telling anything of it:
// eight hexadecimal digits.
func (l *Local) Fingerprint() string { return hex.EncodeToString(l.given.fingerprint[:]) }

// Current is the Fingerprint of the master key that Seal uses.
func (l *Local) Current() string { return hex.EncodeToString(l.current.Load().fingerprint[:]) }

// FingerprintOf is that of the master key that sealed was sealed under; empty
// where it was not made by a Local.
func FingerprintOf(sealed []byte) string {
	if len(sealed) < headerSize || sealed[0] != version {
		return ""
	}
	return hex.EncodeToString(sealed[1:headerSize])
}

// HeaderOf is how everything begins that is sealed under the master key of a
// Fingerprint; nil for what is no fingerprint.
func HeaderOf(fingerprint string) []byte {
	f, err := hex.DecodeString(fingerprint)
	if err != nil || len(f) != fingerprintSize {
		return nil
	}
	return append([]byte{version}, f...)
}

// Knows reports whether what is sealed under the master key of that fingerprint opens.
func (l *Local) Knows(fingerprint string) bool { return l.named(fingerprint) != nil }

func (l *Local) named(fingerprint string) *derived {
	f, err := hex.DecodeString(fingerprint)
	if err != nil || len(f) != fingerprintSize {
		return nil
	}
	return l.known[[fingerprintSize]byte(f)]
}

// Use makes Seal use the master key of that fingerprint. It reports false, and
// changes nothing, where l does not know it.
func (l *Local) Use(fingerprint string) bool {
	d := l.named(fingerprint)
	if d != nil {
		l.current.Store(d)
	}
	return d != nil
}

// Reseal returns what sealed holds, sealed under the first master key. It fails
// as Open does.
func (l *Local) Reseal(sealed []byte, context string) ([]byte, error) {
	plain, err := l.Open(sealed, context)
	if err != nil {
		return nil, err
	}
	return l.given.seal(plain, context), nil
}
