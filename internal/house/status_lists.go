package house

import (
	"context"

	"github.com/tokenhouse/tokenhouse/keys/sealing"
	"github.com/tokenhouse/tokenhouse/metrics"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// buildStatusLists makes what publishes which access tokens do not hold any more.
func (h *House) buildStatusLists(context.Context) error {
	_, key := h.parts.secrets.Current(sealing.StatusIndex)
	h.parts.statusLists = &tokens.StatusLists{
		Signer: h.Ring, Issuer: h.conf.Issuer, Now: h.env.Now, Fresh: h.Feed.Fresh, TTL: h.conf.Tokens.StatusListTTL,
		Index:   func(list string) func(uint32) uint32 { return tokens.PermutationOf(key, list).Index },
		Lists:   h.DB.StatusPlaces().StatusLists,
		Observe: h.Metrics.StatusListBuilt,
	}
	h.Ring.Changed = func() { // another key signs: what was signed is signed anew
		h.parts.revoked.Forget()
		h.parts.statusLists.Forget()
	}
	return nil
}

// statusCount is what the metrics show of the status lists, from memory.
func (h *House) statusCount() metrics.StatusCount {
	if h.parts.statusLists == nil { // a scrape while the house is being built
		return metrics.StatusCount{}
	}
	c := h.parts.statusLists.Count()
	return metrics.StatusCount{Lists: c.Lists, Revoked: c.Revoked}
}
