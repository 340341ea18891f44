package accounts

import (
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// Membership ties a user to an organisation, with one role.
type Membership struct {
	User      ident.UserID
	Org       ident.OrgID
	Role      string
	CreatedAt time.Time
}

// Member is a user as one organisation sees them.
type Member struct {
	User
	Org      ident.OrgID
	Role     string
	JoinedAt time.Time
}
