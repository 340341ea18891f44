package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

// keyRules reads --network, --limit and --quota.
func keyRules(c *cobra.Command) (r apikeys.Rules, err error) {
	networks, _ := c.Flags().GetStringSlice("network")
	for _, text := range networks {
		n, err := apikeys.ParseNetwork(text)
		if err != nil {
			return r, fmt.Errorf("--network %q: %w", text, err)
		}
		r.Networks = append(r.Networks, n)
	}
	limits, _ := c.Flags().GetStringSlice("limit")
	for _, text := range limits {
		l, err := apikeys.ParseLimit(text)
		if err != nil {
			return r, fmt.Errorf("--limit: %w", err)
		}
		r.Limits = append(r.Limits, l)
	}
	if text, _ := c.Flags().GetString("quota"); text != "" {
		if r.Quota, err = apikeys.ParseQuota(text); err != nil {
			return r, fmt.Errorf("--quota: %w", err)
		}
	}
	return r, nil
}

// keyRulesView is the rules of a key as the flags take them.
type keyRulesView struct {
	Networks []string `json:"networks"`
	Limits   []string `json:"limits"`
	Quota    string   `json:"quota"`
}

func keyRulesViewOf(r apikeys.Rules) keyRulesView {
	v := keyRulesView{Networks: make([]string, len(r.Networks)), Limits: make([]string, len(r.Limits)), Quota: r.Quota.String()}
	for i, n := range r.Networks {
		v.Networks[i] = n.String()
	}
	for i, l := range r.Limits {
		v.Limits[i] = l.String()
	}
	return v
}

func (p *process) apiKeyUsageCommand() *cobra.Command {
	usage := p.userDo("usage ID", "Show how often an API key was used", "  tokenhouse api-key usage key_01j… --org acme --by day --since 720h", p.apiKeyUsage)
	usage.Args = exactly("the id of the key")
	usage.Flags().String("by", "hour", "hour or day, of UTC")
	usage.Flags().Duration("since", 0, "how far back; a day by the hour, thirty by the day, where left out")
	return usage
}

type usageView struct {
	Start   string `json:"start"`
	OK      int64  `json:"ok"`
	Refused int64  `json:"refused"`
	Limited int64  `json:"rate_limited"`
}

func (p *process) apiKeyUsage(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	id, err := apiKeyID(c)
	if err != nil {
		return err
	}
	by, _ := c.Flags().GetString("by")
	span := apikeys.Span{Step: apikeys.Step(by)}
	if since, _ := c.Flags().GetDuration("since"); since > 0 {
		span.From = p.Now().Add(-since).Truncate(time.Second)
	}
	series, err := h.APIKeys.Usage(ctx, caller, id, span)
	if err != nil {
		return noSuchKey(err, id)
	}
	number := func(of func(apikeys.UsageBucket) int64) func(apikeys.UsageBucket) string {
		return func(b apikeys.UsageBucket) string { return strconv.FormatInt(of(b), 10) }
	}
	view := func(b apikeys.UsageBucket) usageView { return usageView{stamp(b.Start), b.OK, b.Refused, b.Limited} }
	return printList(c, series.Buckets, view, []column[apikeys.UsageBucket]{
		{string(series.Step), func(b apikeys.UsageBucket) string { return stamp(b.Start) }},
		{"accepted", number(func(b apikeys.UsageBucket) int64 { return b.OK })},
		{"refused", number(func(b apikeys.UsageBucket) int64 { return b.Refused })},
		{"rate limited", number(func(b apikeys.UsageBucket) int64 { return b.Limited })},
	})
}
