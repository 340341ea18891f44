package housetest_test

import (
	"math"
	"slices"
	"testing"
	"time"
)

// apart is the two-sample Kolmogorov–Smirnov test: the largest distance between
// the empirical distributions of a and b, and how likely one as large is where
// both were drawn from the same. (Asymptotic, with the correction of Stephens
// 1970 for samples that are not large.)
func apart(a, b []time.Duration) (distance, likely float64) {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	for i, j := 0, 0; i < len(a) && j < len(b); {
		at := min(a[i], b[j])
		for i < len(a) && a[i] == at {
			i++
		}
		for j < len(b) && b[j] == at {
			j++
		}
		distance = max(distance, math.Abs(float64(i)/float64(len(a))-float64(j)/float64(len(b))))
	}
	n := math.Sqrt(float64(len(a)) * float64(len(b)) / float64(len(a)+len(b)))
	return distance, kolmogorov((n + 0.12 + 0.11/n) * distance)
}

// kolmogorov is the probability that Kolmogorov's distribution exceeds x.
func kolmogorov(x float64) float64 {
	if x < 0.2 {
		return 1 // the series converges slowly there, and to 1
	}
	sum, sign := 0.0, 1.0
	for k := 1.0; k < 100; k++ {
		sum += sign * math.Exp(-2*k*k*x*x)
		sign = -sign
	}
	return min(max(2*sum, 0), 1)
}

// welch is the t of Welch's test: how many standard errors the means of a and b
// are apart.
func welch(a, b []time.Duration) float64 {
	meanA, errorA := mean(a)
	meanB, errorB := mean(b)
	if meanA == meanB {
		return 0
	}
	return (meanA - meanB) / math.Sqrt(errorA+errorB)
}

// mean returns it with the square of its standard error.
func mean(a []time.Duration) (mean, square float64) {
	for _, d := range a {
		mean += float64(d) / float64(len(a))
	}
	for _, d := range a {
		square += (float64(d) - mean) * (float64(d) - mean) / float64(len(a)-1) / float64(len(a))
	}
	return mean, square
}

// shift is by how much all of b would have to differ from a for apart to be less
// likely than alpha: what the test would have found.
func shift(a, b []time.Duration, alpha float64) time.Duration {
	slower := func(by time.Duration) bool {
		c := slices.Clone(b)
		for i := range c {
			c[i] += by
		}
		_, p := apart(a, c)
		return p < alpha
	}
	low, high := time.Duration(0), time.Second
	for high-low > time.Microsecond {
		if mid := (low + high) / 2; slower(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	return high
}

func TestApartIsTheTestOfKolmogorovAndSmirnov(t *testing.T) {
	// The classical critical values (Smirnov 1948): 1.2238, 1.3581, 1.6276 and
	// 1.9495 at 10 %, 5 %, 1 % and 0.1 %.
	for x, want := range map[float64]float64{1.2238: 0.1, 1.3581: 0.05, 1.6276: 0.01, 1.9495: 0.001, 0.1: 1} {
		if got := kolmogorov(x); math.Abs(got-want) > want/500 {
			t.Errorf("%v is exceeded with probability %v, want %v", x, got, want)
		}
	}
	line := func(from, step int) []time.Duration {
		out := make([]time.Duration, 100)
		for i := range out {
			out[i] = time.Duration(from + i*step)
		}
		return out
	}
	for name, c := range map[string]struct {
		a, b []time.Duration
		want float64
	}{
		"the same":                    {line(0, 1), line(0, 1), 0},
		"a quarter later":             {line(0, 1), line(25, 1), 0.25},
		"nothing in common":           {line(0, 1), line(1000, 1), 1},
		"twice as wide":               {line(0, 1), line(0, 2), 0.5},
		"ties count once":             {make([]time.Duration, 50), make([]time.Duration, 80), 0},
		"samples of different length": {line(0, 1), line(0, 1)[:50], 0.5},
	} {
		got, likely := apart(c.a, c.b)
		if back, _ := apart(c.b, c.a); math.Abs(got-c.want) > 1e-9 || got != back {
			t.Errorf("%s: %v and %v apart, want %v", name, got, back, c.want)
		}
		if (c.want >= 0.25) != (likely < 0.01) {
			t.Errorf("%s: %v apart is likely with %v", name, got, likely)
		}
	}
	// Means of 2 and 4, squared errors of 1/3 each.
	if got := welch([]time.Duration{1, 2, 3}, []time.Duration{3, 4, 5}); math.Abs(got+math.Sqrt(6)) > 1e-9 {
		t.Errorf("t is %v, want minus the root of 6", got)
	}
	if got := shift(line(0, 1_000_000), line(0, 1_000_000), 0.01); got < 20*time.Millisecond || got > 26*time.Millisecond {
		t.Errorf("100 samples 1 ms apart are told from others %s later", got) // 0.23 apart is likely with 1 %
	}
}
