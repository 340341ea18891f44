//go:build !race

package drills_test

const watched, allowance = 1, 1
