package gormstore

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

// apiKeyRules are texts: values separated by blanks.
type apiKeyRules struct {
	Networks string
	Limits   string
	Quota    string
}

func apiKeyRulesOf(r apikeys.Rules) apiKeyRules {
	return apiKeyRules{Networks: texts(r.Networks), Limits: texts(r.Limits), Quota: r.Quota.String()}
}

func texts[T fmt.Stringer](vs []T) string {
	out := make([]string, len(vs))
	for i, v := range vs {
		out[i] = v.String()
	}
	return strings.Join(out, " ")
}

func (r apiKeyRules) domain() (out apikeys.Rules, err error) {
	for w := range strings.FieldsSeq(r.Networks) {
		p, err := netip.ParsePrefix(w)
		if err != nil {
			return out, err
		}
		out.Networks = append(out.Networks, p)
	}
	for w := range strings.FieldsSeq(r.Limits) {
		l, err := apikeys.ParseLimit(w)
		if err != nil {
			return out, err
		}
		out.Limits = append(out.Limits, l)
	}
	if r.Quota != "" {
		out.Quota, err = apikeys.ParseQuota(r.Quota)
	}
	return out, err
}

// takeAllowance adds to the windows what they have left. Rows are in the order
// of the asks, which is that of the periods, so that replicas lock alike.
const takeAllowance = `
	ON CONFLICT (key_id, period, starts_at) DO UPDATE SET
		most = excluded.most,
		taken = CASE WHEN a.used + excluded.taken <= excluded.most THEN excluded.taken WHEN a.used < excluded.most THEN excluded.most - a.used ELSE 0 END,
		used = CASE WHEN a.used + excluded.taken <= excluded.most THEN a.used + excluded.taken WHEN a.used < excluded.most THEN excluded.most ELSE a.used END
	RETURNING period, taken, used`

func (a apiKeys) TakeAPIKeyAllowance(ctx context.Context, key ident.APIKeyID, asks []apikeys.Ask) ([]apikeys.Taken, error) {
	args := make([]any, 0, 7*len(asks))
	for _, ask := range asks {
		want := min(ask.Want, ask.Most)
		args = append(args, string(key), ask.Period, micros(ask.Start), micros(ask.End), ask.Most, want, want)
	}
	statement := "INSERT INTO api_key_allowances AS a (key_id, period, starts_at, ends_at, most, used, taken) VALUES " +
		strings.TrimSuffix(strings.Repeat("(?, ?, ?, ?, ?, ?, ?), ", len(asks)), ", ") + takeAllowance
	var taken []apikeys.Taken
	err := a.db.inTx(ctx, func(t *tx) error {
		var rows []struct {
			Period      string
			Taken, Used int64
		}
		if err := t.g.Raw(statement, args...).Scan(&rows).Error; err != nil {
			return unavailable(err)
		}
		got := make(map[string]apikeys.Taken, len(rows))
		for _, r := range rows {
			got[r.Period] = apikeys.Taken{Granted: r.Taken, Used: r.Used}
		}
		taken = make([]apikeys.Taken, len(asks))
		for i, ask := range asks {
			taken[i] = got[ask.Period]
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return taken, nil
}

func (a apiKeys) APIKeyUsage(ctx context.Context, id ident.APIKeyID, from, to time.Time, step time.Duration) ([]apikeys.UsageBucket, error) {
	var rows []struct{ At, Accepted, Refused, Limited int64 }
	by := step.Microseconds()
	err := a.db.read.WithContext(ctx).Raw(`
		SELECT hour / ? * ? AS at, CAST(SUM(ok) AS bigint) AS accepted, CAST(SUM(refused) AS bigint) AS refused, CAST(SUM(limited) AS bigint) AS limited
		FROM api_key_usage WHERE key_id = ? AND hour >= ? AND hour < ? GROUP BY 1 ORDER BY 1`,
		by, by, string(id), micros(from), micros(to)).Scan(&rows).Error
	if err != nil {
		return nil, unavailable(err)
	}
	out := make([]apikeys.UsageBucket, len(rows))
	for i, r := range rows {
		out[i] = apikeys.UsageBucket{Start: timeOf(r.At), OK: r.Accepted, Refused: r.Refused, Limited: r.Limited}
	}
	return out, nil
}

func (a apiKeys) PruneAPIKeyUsage(ctx context.Context, usage, allowances time.Time, limit int) (int, error) {
	buckets, err := a.db.delete(ctx, `DELETE FROM api_key_usage WHERE (key_id, hour) IN
		(SELECT key_id, hour FROM api_key_usage WHERE hour < ? ORDER BY hour LIMIT ?)`, micros(usage), limit)
	if err != nil {
		return 0, err
	}
	windows, err := a.db.delete(ctx, `DELETE FROM api_key_allowances WHERE (key_id, period, starts_at) IN
		(SELECT key_id, period, starts_at FROM api_key_allowances WHERE ends_at < ? ORDER BY ends_at LIMIT ?)`, micros(allowances), limit)
	return max(buckets, windows), err
}
