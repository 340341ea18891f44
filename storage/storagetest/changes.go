package storagetest

import "testing"

// changeLog: the log starts empty and its cursor stands still without changes.
// What it promises of changes is tested with the stores that announce them.
func changeLog(t *testing.T, f *fixture) {
	past, cursor, err := f.Changes().Start(t.Context(), f.now)
	if err != nil || len(past) != 0 {
		t.Fatalf("Start of an empty log = %v, %v", past, err)
	}
	for range 2 {
		var found int
		cs, next, err := f.Changes().Since(t.Context(), cursor)
		if found = len(cs); err != nil || found != 0 {
			t.Fatalf("Since on an empty log = %v, %v", cs, err)
		}
		cursor = next
	}
}
