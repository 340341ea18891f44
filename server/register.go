package server

import (
	"context"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

type registerRequest struct {
	Email            string `json:"email"`
	Password         string `json:"password"`
	Name             string `json:"name"`
	OrganizationName string `json:"organization_name"`
}

func (r *registerRequest) read(i *input) error {
	if !i.s.Config.Registration {
		return fault.New(fault.NotFound, "Registration is closed; ask an administrator for an account.")
	}
	return missing("email", r.Email, "password", r.Password)
}

// registered is the same for everybody: it does not tell whether the address
// had an account already.
type registered struct {
	Status string `json:"status"`
	Detail string `json:"detail"`
}

// register serves POST /api/v1/auth/register.
func (s *Server) register(ctx context.Context, caller ident.Caller, req registerRequest) (registered, error) {
	err := s.Services.People.Register(ctx, accounts.Registration{
		Email: req.Email, Password: secret.Of(req.Password), Name: req.Name, OrganizationName: req.OrganizationName,
	}, caller.Origin)
	if err != nil {
		return registered{}, err
	}
	return registered{Status: "accepted", Detail: "If the address had no account, it has one now. Log in with the password you chose."}, nil
}
