package ident

import (
	"crypto/rand"
	"errors"
	"testing"
	"time"
)

func TestAServiceAccountIsNoPerson(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	person, service := NewUserID(at, rand.Reader), NewServiceAccountID(at, rand.Reader)
	if person.IsServiceAccount() || !service.IsServiceAccount() {
		t.Errorf("%s and %s are mistaken for each other", person, service)
	}
	if _, err := ParseUserID(string(service)); !errors.Is(err, ErrMalformed) {
		t.Errorf("%s passes for a person", service)
	}
	if _, err := ParseServiceAccountID(string(person)); !errors.Is(err, ErrMalformed) {
		t.Errorf("%s passes for a service account", person)
	}
	for _, id := range []UserID{person, service} {
		if got, err := ParseOwnerID(string(id)); got != id || err != nil {
			t.Errorf("ParseOwnerID(%s) = %s, %v", id, got, err)
		}
	}
	for _, s := range []string{"", "svc_", "svc_1", string(service) + "0", "key_" + string(service)[4:], string(service) + " "} {
		if _, err := ParseOwnerID(s); !errors.Is(err, ErrMalformed) {
			t.Errorf("ParseOwnerID(%q) = %v", s, err)
		}
	}
}
