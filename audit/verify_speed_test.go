package audit_test

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
)

// A million events are proved within a minute, in memory that does not grow
// with them. TOKENHOUSE_TEST_AUDIT_EVENTS=1000000 takes that many; ordinarily a
// hundredth of them has a hundredth of the processor time that two cores have in a
// minute, which others cannot take away as they can the time, and a second more.
func TestAMillionEventsAreProvedWithinAMinute(t *testing.T) {
	n, whole := 10_000, false
	if text := os.Getenv("TOKENHOUSE_TEST_AUDIT_EVENTS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
		whole = true
	}
	w := newWorld(t)
	began := time.Now()
	for part := 0; part < n; part += 1000 {
		w.record(t, w.orgs[part/1000%3], audit.LoginFailed, min(1000, n-part))
	}
	recorded := time.Now()
	w.seal(t)
	sealed := time.Now()
	path := filepath.Join(t.TempDir(), "audit.ndjson")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.sealer.Export(t.Context(), f, audit.Extent{}, nil); err != nil {
		t.Fatal(err)
	}
	exported := time.Now()
	size, err := f.Seek(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := f.Stat(); err == nil {
		size = info.Size()
	}
	verifying, before := time.Now(), processorTime(t)
	told := 0
	v := audit.Verifier{Keys: w.pen.jwks(), Progress: func(int64) { told++ }}
	r, err := v.Verify(f)
	took, used := time.Since(verifying), processorTime(t)-before
	t.Logf("%d events, %d MB: recorded in %s, sealed in %s, exported in %s, proved in %s, %s of processors",
		n, size>>20, recorded.Sub(began), sealed.Sub(recorded), exported.Sub(sealed), took, used)
	if err != nil || r.Events != int64(n) || told == 0 {
		t.Errorf("%+v, %v; progress was told %d times", r, err, told)
	}
	share := time.Minute * time.Duration(n) / 1_000_000
	if used > 2*share+time.Second || whole && took > share {
		t.Errorf("%d events took %s, %s of processors; more than %s", n, took, used, share)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// processorTime is what this process has used, user and system, of all processors.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
