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

// pruneAudit removes events whose time is over.
func (h *House) pruneAudit(ctx context.Context) error {
	k := h.conf.Audit.Keep
	r := &audit.Retainer{
		Store: h.DB.AuditRetention(), Signer: h.Ring, Issuer: h.conf.Issuer, Now: h.env.Now,
		Keep: audit.Keep{audit.Routine: k.Routine, audit.Security: k.Security, audit.Administration: k.Administration},
	}
	return r.Prune(ctx)
}

// SealAudit gives every event that was committed its place, and signs what is due.
func (h *House) SealAudit(ctx context.Context) error { return h.AuditSealer().Seal(ctx) }

// countUnsealed tells the metrics how old the oldest is that has no place in
// the chain yet, or no signature. It asks the database, so that a replica also
// tells when the one that seals stands still.
func (h *House) countUnsealed(ctx context.Context) error {
	b, err := h.DB.Chain().Backlog(ctx)
	if err != nil {
		return err
	}
	unsealed, unsigned := b.Ages(h.env.Now())
	h.Metrics.AuditUnsealed(unsealed)
	h.Metrics.AuditUncheckpointed(unsigned)
	return nil
}
