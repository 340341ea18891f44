package accounts

import (
	"context"
	"errors"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// JudgeDeployment lets the operator pass, and those of the first organisation:
// it is the one of whoever runs the deployment. All others answer for their own
// organisation only, whatever their role there: what concerns everybody's
// tokens is fault.InsufficientPermissions to them.
func (p *People) JudgeDeployment(ctx context.Context, c ident.Caller) error {
	if c.Kind == ident.Operator {
		return nil
	}
	first, err := p.Store.FirstOrg(ctx)
	if err != nil && !errors.Is(err, fault.NotFound) {
		return err
	}
	if err != nil || c.Org != first {
		return fault.New(fault.InsufficientPermissions, "This concerns the whole deployment: only its first organisation may do it.")
	}
	return nil
}
