package house

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
)

// sealEvery is how often events get their places in the chain of the audit log.
const sealEvery = time.Second

// AuditSealer returns what gives events their places and signs for them.
func (h *House) AuditSealer() *audit.Sealer {
	return &audit.Sealer{Store: h.DB.Chain(), Signer: h.Ring, Issuer: h.conf.Issuer, Now: h.env.Now}
}

// SealAudit gives every event that was committed its place, and signs what is due.
func (h *House) SealAudit(ctx context.Context) error { return h.AuditSealer().Seal(ctx) }
