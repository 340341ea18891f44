package house

import (
	"context"
	"fmt"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// passwordLength is that of a made-up password: 143 bits.
const passwordLength = 24

// First is what a start has to tell whoever started it.
type First struct {
	MasterKey   string // where the master key came from, in words
	Created     bool   // the first start of this database; what follows is set only then
	Email       string
	Password    secret.Plain
	Generated   bool // the password was made up, and must be told
	Link        secret.Plain
	LinkExpires time.Time
}

// FirstRun makes the first administrator in an empty database.
func (h *House) FirstRun(ctx context.Context) (First, error) {
	f := First{MasterKey: h.parts.masterKey, Email: h.conf.Admin.Email, Password: h.conf.Admin.Password}
	if f.Password.IsZero() {
		text, err := secret.Text(h.env.Random, passwordLength)
		if err != nil {
			return First{}, err
		}
		f.Password, f.Generated = secret.Of(text), true
	}
	made, err := h.People.FirstRun(ctx, accounts.FirstAdmin{Email: f.Email, Password: f.Password})
	if err != nil {
		return First{}, fmt.Errorf("make the first administrator (admin_email, admin_password): %w", err)
	}
	if !made.Created {
		return First{MasterKey: f.MasterKey}, nil
	}
	f.Created, f.Link, f.LinkExpires = true, made.Link, made.LinkExpires
	return f, nil
}
