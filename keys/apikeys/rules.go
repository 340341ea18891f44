package apikeys

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"net/netip"

	"github.com/tokenhouse/tokenhouse/internal/fault"
)

// Bounds of the rules of a key.
const (
	// MaxNetworks is how many networks a key may be limited to.
	MaxNetworks = 50
	// MaxLimits is how many rate limits a key may have, besides its quota.
	MaxLimits = 5
	// MaxRequests is the most that a limit or a quota may allow.
	MaxRequests = 1_000_000_000_000

	shortestPer = time.Second
	longestPer  = 24 * time.Hour
)

// Rules narrow where and how often a key may be used. The zero value allows
// every address and any number of requests.
type Rules struct {
	Networks []netip.Prefix // masked, in order, none within another; empty: everywhere
	Limits   []Limit        // by period, each period once
	Quota    Quota
}

// Limit is a rate limit: so many requests in each window of a length. Windows
// follow one another without a gap, beginning at round times of UTC.
type Limit struct {
	Requests int64
	Per      time.Duration // whole seconds, 1 s to 24 h
}

// Quota is a limit by the calendar of UTC. The zero Quota is none.
type Quota struct {
	Requests int64
	Per      Calendar
}

// Calendar is a period of the calendar.
type Calendar string

// The periods of a quota.
const (
	Day   Calendar = "day"
	Month Calendar = "month"
)

// start returns the beginning of the window that holds at, and its end.
func (l Limit) window(at time.Time) (start, end time.Time) {
	start = at.UTC().Truncate(l.Per)
	return start, start.Add(l.Per)
}

func (q Quota) window(at time.Time) (start, end time.Time) {
	y, m, d := at.UTC().Date()
	if q.Per == Month {
		start = time.Date(y, m, 1, 0, 0, 0, 0, time.UTC)
		return start, start.AddDate(0, 1, 0)
	}
	start = time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	return start, start.AddDate(0, 0, 1)
}

// ParseNetwork reads a network, "192.0.2.0/24" or "2001:db8::/32", or a single
// address. IPv4 written as IPv6 is IPv4, bits beyond the prefix are dropped.
func ParseNetwork(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("must be a network such as 192.0.2.0/24 or 2001:db8::/32, or an address")
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("covers more than the IPv4 addresses: write it as an IPv6 network, or as an IPv4 one")
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// ParseLimit reads "100/1m": so many requests in each such time.
func ParseLimit(s string) (Limit, error) {
	n, per, _ := strings.Cut(s, "/")
	requests, err := strconv.ParseInt(n, 10, 64)
	d, perErr := time.ParseDuration(per)
	if err != nil || perErr != nil {
		return Limit{}, fmt.Errorf("%q is no limit: say 100/1m for 100 requests in each minute", s)
	}
	return Limit{Requests: requests, Per: d}, nil
}

// ParseQuota reads "100000/month" or "5000/day".
func ParseQuota(s string) (Quota, error) {
	n, per, _ := strings.Cut(s, "/")
	requests, err := strconv.ParseInt(n, 10, 64)
	if err != nil || per == "" {
		return Quota{}, fmt.Errorf("%q is no quota: say 100000/month or 5000/day", s)
	}
	return Quota{Requests: requests, Per: Calendar(per)}, nil
}

// String is what ParseLimit reads.
func (l Limit) String() string { return strconv.FormatInt(l.Requests, 10) + "/" + PeriodText(l.Per) }

// String is what ParseQuota reads.
func (q Quota) String() string {
	if q == (Quota{}) {
		return ""
	}
	return strconv.FormatInt(q.Requests, 10) + "/" + string(q.Per)
}

// PeriodText writes a duration without units that are zero: "1m", "1h30m".
func PeriodText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// canonical returns the rules in the one form that is stored, or what is wrong
// with them.
func (r Rules) canonical() (Rules, []fault.Field) {
	var fields []fault.Field
	refuse := func(name, detail string) { fields = append(fields, fault.Field{Name: name, Detail: detail}) }
	if len(r.Networks) > MaxNetworks {
		refuse("networks", fmt.Sprintf("must hold at most %d networks", MaxNetworks))
	}
	for i, p := range r.Networks {
		if !p.IsValid() {
			refuse(fmt.Sprintf("networks[%d]", i), "must be a network or an address")
		}
	}
	if len(r.Limits) > MaxLimits {
		refuse("limits", fmt.Sprintf("must hold at most %d limits", MaxLimits))
	}
	out := Rules{Networks: mergeNetworks(r.Networks), Quota: r.Quota}
	out.Limits = append(out.Limits, r.Limits...) // nil where there are none
	slices.SortStableFunc(out.Limits, func(a, b Limit) int { return int(a.Per - b.Per) })
	for i, l := range r.Limits {
		at := fmt.Sprintf("limits[%d]", i)
		if l.Requests < 1 || l.Requests > MaxRequests {
			refuse(at+".requests", "must be 1 to 1000000000000")
		}
		if l.Per < shortestPer || l.Per > longestPer || l.Per%time.Second != 0 {
			refuse(at+".per", "must be whole seconds between 1s and 24h; longer ones are quotas")
		}
		if slices.ContainsFunc(r.Limits[:i], func(o Limit) bool { return o.Per == l.Per }) {
			refuse(at+".per", "is given twice")
		}
	}
	if q := r.Quota; q != (Quota{}) {
		if q.Requests < 1 || q.Requests > MaxRequests {
			refuse("quota.requests", "must be 1 to 1000000000000")
		}
		if q.Per != Day && q.Per != Month {
			refuse("quota.per", "must be day or month")
		}
	}
	return out, fields
}

// mergeNetworks sorts networks and drops those within another.
func mergeNetworks(ps []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	sorted := slices.Clone(ps)
	slices.SortFunc(sorted, func(a, b netip.Prefix) int {
		if c := a.Bits() - b.Bits(); c != 0 {
			return c
		}
		return a.Addr().Compare(b.Addr())
	})
	for _, p := range sorted {
		if p = p.Masked(); !within(out, p) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	return out
}

// within reports whether one of the networks holds all of p.
func within(networks []netip.Prefix, p netip.Prefix) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Bits() <= p.Bits() && n.Contains(p.Addr()) })
}

// Admits reports whether the key may be used from there. An address that is
// not known is in no network.
func (r Rules) Admits(from netip.Addr) bool {
	if len(r.Networks) == 0 {
		return true
	}
	from = from.Unmap().WithZone("")
	return slices.ContainsFunc(r.Networks, func(n netip.Prefix) bool { return n.Contains(from) })
}

// Exceeds tells in which rules r allows more than the rules of most, by the name of
// the field and what is wrong with it. r allows no more where each of its
// networks lies within one of most's; where for each limit of most it has one
// over the same or a longer period with no more requests; and where for a quota
// of most it has a quota over the same or a longer period with no more requests.
func (r Rules) Exceeds(most Rules) []fault.Field {
	var fields []fault.Field
	if len(most.Networks) > 0 && len(r.Networks) == 0 {
		fields = append(fields, fault.Field{Name: "networks", Detail: "must lie within " + joined(most.Networks)})
	}
	for i, p := range r.Networks {
		if len(most.Networks) > 0 && !within(most.Networks, p) {
			fields = append(fields, fault.Field{Name: fmt.Sprintf("networks[%d]", i), Detail: "must lie within " + joined(most.Networks)})
		}
	}
	for _, m := range most.Limits {
		if !slices.ContainsFunc(r.Limits, func(l Limit) bool { return l.Per >= m.Per && l.Requests <= m.Requests }) {
			fields = append(fields, fault.Field{Name: "limits", Detail: "must hold one that is no more generous than " + m.String()})
		}
	}
	if m := most.Quota; m != (Quota{}) {
		longer := r.Quota.Per == m.Per || r.Quota.Per == Month
		if r.Quota == (Quota{}) || !longer || r.Quota.Requests > m.Requests {
			fields = append(fields, fault.Field{Name: "quota", Detail: "must be no more generous than " + m.String()})
		}
	}
	return fields
}

// inheriting is r with the rules of the key that makes it where r says nothing.
func (r Rules) inheriting(parent Rules) Rules {
	if len(r.Networks) == 0 {
		r.Networks = parent.Networks
	}
	if len(r.Limits) == 0 {
		r.Limits = parent.Limits
	}
	if r.Quota == (Quota{}) {
		r.Quota = parent.Quota
	}
	return r
}

// limited reports whether uses have to be counted against an allowance.
func (r Rules) limited() bool { return len(r.Limits) > 0 || r.Quota != (Quota{}) }

// describe is the rules in the words of the audit log.
func (r Rules) describe(into map[string]string, prefix string) {
	into[prefix+"networks"], into[prefix+"limits"], into[prefix+"quota"] = joined(r.Networks), joined(r.Limits), r.Quota.String()
}

// joined writes values one after another, separated by blanks.
func joined[T fmt.Stringer](vs []T) string {
	words := make([]string, len(vs))
	for i, v := range vs {
		words[i] = v.String()
	}
	return strings.Join(words, " ")
}
