package server

import (
	"strings"
	"testing"
)

// FuzzWantsSigned: whatever an Accept header says, only one that names the
// media type of a signed introspection gets one.
func FuzzWantsSigned(f *testing.F) {
	for _, s := range []string{"", "*/*", signedIntrospection, signedIntrospection + ";q=0", "text/html, " + signedIntrospection + "; q=0.5", ";q=", signedIntrospection + ";q=NaN", "\x00,,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, accept string) {
		if (form{accept: []string{accept}}).wantsSigned() && !strings.Contains(strings.ToLower(accept), signedIntrospection) {
			t.Errorf("%q asks for a signed answer", accept)
		}
	})
}
