package server

import (
	"context"
	"net/netip"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

// network is a network as the API reads it: see apikeys.ParseNetwork.
type network struct{ netip.Prefix }

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *network) UnmarshalText(b []byte) (err error) {
	n.Prefix, err = apikeys.ParseNetwork(string(b))
	return err
}

// keyLimit is a rate limit of an API key.
type keyLimit struct {
	Requests int64 `json:"requests"`
	Per      span  `json:"per"`
}

// keyQuota is a limit by the calendar.
type keyQuota struct {
	Requests int64            `json:"requests"`
	Per      apikeys.Calendar `json:"per"`
}

// keyRules are the rules of an API key in a request. What is left out, or null,
// is not meant; an empty list, or {} for the quota, takes a rule away.
type keyRules struct {
	Networks *[]network  `json:"networks"`
	Limits   *[]keyLimit `json:"limits"`
	Quota    *keyQuota   `json:"quota"`
}

func (r keyRules) changes() apikeys.Changes {
	var c apikeys.Changes
	if r.Networks != nil {
		c.Networks = new([]netip.Prefix)
		for _, n := range *r.Networks {
			*c.Networks = append(*c.Networks, n.Prefix)
		}
	}
	if r.Limits != nil {
		c.Limits = new([]apikeys.Limit)
		for _, l := range *r.Limits {
			*c.Limits = append(*c.Limits, apikeys.Limit{Requests: l.Requests, Per: l.Per.Duration})
		}
	}
	if r.Quota != nil {
		c.Quota = &apikeys.Quota{Requests: r.Quota.Requests, Per: r.Quota.Per}
	}
	return c
}

func (r keyRules) rules() (out apikeys.Rules) {
	c := r.changes()
	if c.Networks != nil {
		out.Networks = *c.Networks
	}
	if c.Limits != nil {
		out.Limits = *c.Limits
	}
	if c.Quota != nil {
		out.Quota = *c.Quota
	}
	return out
}

// shownRules are the rules of an API key in a reply.
type shownRules struct {
	Networks []netip.Prefix `json:"networks"` // empty: everywhere
	Limits   []shownLimit   `json:"limits"`
	Quota    *keyQuota      `json:"quota"`
}

type shownLimit struct {
	Requests int64  `json:"requests"`
	Per      string `json:"per"`
}

func shownRulesOf(r apikeys.Rules) shownRules {
	out := shownRules{Networks: append([]netip.Prefix{}, r.Networks...), Limits: make([]shownLimit, len(r.Limits))}
	for i, l := range r.Limits {
		out.Limits[i] = shownLimit{l.Requests, apikeys.PeriodText(l.Per)}
	}
	if r.Quota != (apikeys.Quota{}) {
		out.Quota = &keyQuota{r.Quota.Requests, r.Quota.Per}
	}
	return out
}

// shownUse is where and when a value of a key was last used.
type shownUse struct {
	LastUsedAt   timestamp `json:"last_used_at"`
	LastUsedIP   string    `json:"last_used_ip"`
	LastUsedFrom string    `json:"last_used_user_agent"`
}

func shownUseOf(u apikeys.Use) shownUse {
	return shownUse{LastUsedAt: timestamp{u.At}, LastUsedIP: addressText(u.IP), LastUsedFrom: u.UserAgent}
}

// currentSecret tells of the value that works until the next rotation.
type currentSecret struct {
	Hint      string    `json:"hint"`
	CreatedAt timestamp `json:"created_at"`
	shownUse
}

// keyUsageRequest asks how often a key was used.
type keyUsageRequest struct {
	apiKeyByID
	span apikeys.Span
}

func (r *keyUsageRequest) read(i *input) error {
	for name, into := range map[string]*time.Time{"from": &r.span.From, "to": &r.span.To} {
		v, err := i.value(name)
		if err != nil {
			return err
		}
		if v == "" {
			continue
		}
		var at timestamp
		if err := at.UnmarshalText([]byte(v)); err != nil {
			return fault.Refuse(name, err.Error())
		}
		*into = at.Time
	}
	by, err := i.value("by")
	if err != nil {
		return err
	}
	r.span.Step = apikeys.Step(by)
	return r.apiKeyByID.read(i)
}

// keyUsage is how often a key was used.
type keyUsage struct {
	From timestamp     `json:"from"`
	To   timestamp     `json:"to"`
	By   apikeys.Step  `json:"by"`
	Data []usageBucket `json:"data"` // oldest first; hours or days without any use are left out
}

type usageBucket struct {
	Start   timestamp `json:"start"`
	OK      int64     `json:"ok"`
	Refused int64     `json:"refused"`
	Limited int64     `json:"rate_limited"`
}

// apiKeyUsage serves GET /api/v1/api-keys/:id/usage.
func (s *Server) apiKeyUsage(ctx context.Context, caller ident.Caller, req keyUsageRequest) (keyUsage, error) {
	got, err := s.Services.APIKeys.Usage(ctx, caller, req.id, req.span)
	if err != nil {
		return keyUsage{}, err
	}
	out := keyUsage{From: timestamp{got.From}, To: timestamp{got.To}, By: got.Step, Data: make([]usageBucket, len(got.Buckets))}
	for i, b := range got.Buckets {
		out.Data[i] = usageBucket{timestamp{b.Start}, b.OK, b.Refused, b.Limited}
	}
	return out, nil
}
