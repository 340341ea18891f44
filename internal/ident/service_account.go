package ident

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// serviceAccount begins the identifier of a service account.
const serviceAccount = "svc_"

// NewServiceAccountID makes the identifier of a service account: "svc_…". It is
// a UserID, because a service account stands where a person may: as the owner
// of API keys, and as the subject of what they are exchanged for.
func NewServiceAccountID(at time.Time, random io.Reader) UserID {
	return UserID(mint(serviceAccount, at, random))
}

// ParseServiceAccountID accepts "svc_…" only, as ParseUserID accepts people only.
func ParseServiceAccountID(s string) (UserID, error) {
	_, err := decode(serviceAccount, s)
	return UserID(s), err
}

// ParseOwnerID accepts people and service accounts.
func ParseOwnerID(s string) (UserID, error) {
	if u := UserID(s); u.IsServiceAccount() {
		return ParseServiceAccountID(s)
	}
	u, err := ParseUserID(s)
	if err != nil {
		err = fmt.Errorf("%w; or a service account", err)
	}
	return u, err
}

// IsServiceAccount tells a service account from a person.
func (u UserID) IsServiceAccount() bool { return strings.HasPrefix(string(u), serviceAccount) }
