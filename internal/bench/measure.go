package main

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// operation is something to do again and again. It is told which worker asks.
type operation func(worker int) error

// figure is what measuring an operation gave.
type figure struct {
	name     string
	perSec   float64
	p50, p99 time.Duration
	cpu      time.Duration // of this process for one operation, load generator included
	failures int64
	last     error
}

// measure runs op with so many workers for so long, after a short warm-up.
func measure(name string, workers int, d time.Duration, op operation) figure {
	_, _, _, _ = spin(workers, min(d/5, 500*time.Millisecond), op)
	before := cpuTime()
	took, elapsed, failures, last := spin(workers, d, op)
	used := cpuTime() - before
	f := figure{name: name, failures: failures, last: last}
	if len(took) == 0 {
		return f
	}
	slices.Sort(took)
	f.perSec = float64(len(took)) / elapsed.Seconds()
	f.cpu = used / time.Duration(len(took))
	f.p50, f.p99 = took[len(took)/2], took[len(took)*99/100]
	return f
}

// cpuTime is the processor time that this process has used: user and system,
// all threads. Unlike the clock it hardly moves when others load the machine.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func spin(workers int, d time.Duration, op operation) (took []time.Duration, elapsed time.Duration, failed int64, last error) {
	var wg sync.WaitGroup
	var failures atomic.Int64
	var lastFailure atomic.Pointer[error]
	all := make([][]time.Duration, workers)
	start := time.Now()
	for w := range workers {
		wg.Go(func() {
			for t := start; t.Sub(start) < d; {
				err := op(w)
				now := time.Now()
				if err != nil {
					failures.Add(1)
					lastFailure.Store(&err)
				} else {
					all[w] = append(all[w], now.Sub(t))
				}
				t = now
			}
		})
	}
	wg.Wait()
	elapsed = time.Since(start)
	if p := lastFailure.Load(); p != nil {
		last = *p
	}
	return slices.Concat(all...), elapsed, failures.Load(), last
}

// row prints a figure beside the limit it is compared with.
func (f figure) row(limit *figure) string {
	s := fmt.Sprintf("  %-34s %10.0f /s   p50 %9s   p99 %9s   CPU %9s", f.name, f.perSec, short(f.p50), short(f.p99), short(f.cpu))
	if limit != nil && limit.perSec > 0 {
		s += fmt.Sprintf("   %5.2f of %s", f.perSec/limit.perSec, limit.name)
	}
	if f.failures > 0 {
		s += fmt.Sprintf("   %d FAILED, last: %v", f.failures, f.last)
	}
	return s
}

func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%.0f µs", float64(d.Nanoseconds())/1e3)
	case d < time.Second:
		return fmt.Sprintf("%.2f ms", float64(d.Nanoseconds())/1e6)
	default:
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
}
