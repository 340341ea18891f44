package signing

import (
	"slices"
	"strconv"
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

const (
	notice = 7 * time.Minute
	life   = 90 * 24 * time.Hour
)

// aged is a key of ES256 that came into its state so long before noon.
func aged(id string, state State, age time.Duration) Key {
	k := Key{ID: id, Algorithm: "ES256", State: state, CreatedAt: noon.Add(-age)}
	switch state {
	case Active:
		k.ActivatedAt = k.CreatedAt
	case Retiring, Revoked:
		k.RetiredAt = k.CreatedAt
	}
	return k
}

func many(n int, state State) (out []Key) {
	for i := range n {
		out = append(out, aged(strconv.Itoa(i), state, time.Hour))
	}
	return out
}

func TestWhatIsDue(t *testing.T) {
	t.Parallel()
	publish := []step{{algorithm: "ES256", to: Published}}
	takeOver := []step{{id: "a", algorithm: "ES256", to: Retiring}, {id: "n", algorithm: "ES256", to: Active, previous: "a"}}
	for name, c := range map[string]struct {
		keys     []Key
		lifetime time.Duration
		want     []step
	}{
		"a young key":                          {[]Key{aged("a", Active, time.Hour)}, life, nil},
		"just before the notice":               {[]Key{aged("a", Active, life-notice-1)}, life, nil},
		"at the notice":                        {[]Key{aged("a", Active, life-notice)}, life, publish},
		"long overdue: announced all the same": {[]Key{aged("a", Active, 3*life)}, life, publish},
		"old, but never by itself":             {[]Key{aged("a", Active, 3*life)}, 0, nil},
		"a next one that is too young":         {[]Key{aged("a", Active, 3*life), aged("n", Published, notice-1)}, life, nil},
		"a next one that has been announced":   {[]Key{aged("a", Active, life), aged("n", Published, notice)}, life, takeOver},
		"one that somebody asked for":          {[]Key{aged("a", Active, time.Hour), aged("n", Published, notice)}, 0, takeOver},
		"a next one of a clock that is ahead":  {[]Key{aged("a", Active, life), aged("n", Published, -time.Hour)}, life, nil},
		"an active one of a clock ahead":       {[]Key{aged("a", Active, -time.Hour)}, life, nil},
		"revoked and retiring ones":            {[]Key{aged("r", Retiring, 3*life), aged("v", Revoked, 3*life), aged("a", Active, 1)}, life, nil},
		"too many":                             {append(many(maxKeys-1, Retiring), aged("a", Active, life)), life, nil},
		"as many as there may be, revoked":     {append(many(maxKeys-1, Revoked), aged("a", Active, life)), life, publish},
		"no active one, which Load mends":      {[]Key{aged("n", Published, life)}, life, nil},
		"no key":                               {nil, life, nil},
	} {
		if got := judge(c.keys, []string{"ES256"}, notice, c.lifetime, noon); !slices.Equal(got, c.want) {
			t.Errorf("%s: %+v; want %+v", name, got, c.want)
		}
	}
	if got := judge([]Key{aged("a", Active, 3*life)}, []string{"RS256"}, notice, life, noon); got != nil {
		t.Errorf("an algorithm that is not configured: %+v", got)
	}
}

func TestWhatARevocationDoes(t *testing.T) {
	t.Parallel()
	gone := step{id: "a", algorithm: "ES256", to: Revoked}
	for name, c := range map[string]struct {
		keys []Key
		want []step
	}{
		"the active one, and none is next": {[]Key{aged("a", Active, 1)}, []step{gone, {algorithm: "ES256", to: Active, previous: "a"}}},
		"the active one, and one is next":  {[]Key{aged("a", Active, 1), aged("n", Published, 0)}, []step{gone, {id: "n", algorithm: "ES256", to: Active, previous: "a"}}},
		"a retiring one":                   {[]Key{aged("a", Retiring, 1), aged("n", Active, 0)}, []step{gone}},
		"one that is next":                 {[]Key{aged("a", Published, 1), aged("n", Active, 0)}, []step{gone}},
		"a revoked one":                    {[]Key{aged("a", Revoked, 1), aged("n", Active, 0)}, nil},
		"though there are very many":       {append(many(maxKeys, Retiring), aged("a", Active, 1)), []step{gone, {algorithm: "ES256", to: Active, previous: "a"}}},
	} {
		if got, err := revocation(c.keys, "a", []string{"ES256"}); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
	if got, err := revocation([]Key{aged("a", Active, 1)}, "a", []string{"RS256"}); err != nil || !slices.Equal(got, []step{gone}) {
		t.Errorf("of an algorithm that is not configured: %+v, %v", got, err)
	}
}
