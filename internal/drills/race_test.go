//go:build race

package drills_test

// watched is how many times longer pure computing takes under the race detector.
const (
	watched   = 16
	allowance = 3 // it varies
)
