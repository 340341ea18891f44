package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestChoosesWhatAPolicyWouldAccept(t *testing.T) {
	got, err := choose(strings.NewReader("short\nPassword\npassword\n12345678\nmuch longer than that\ninvalid\xff\xff\xff\n"))
	if want := []string{"much longer than that", "password", "12345678"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("chose %q, %v; want %q", got, err, want)
	}
}

func TestWritesTheListAndSaysHowLongItIs(t *testing.T) {
	text := filepath.Join(t.TempDir(), "list.txt")
	if err := os.WriteFile(text, []byte("password\npasswordpassword\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, told bytes.Buffer
	if err := run([]string{text}, &out, &told); err != nil || !strings.HasPrefix(told.String(), "2 passwords, ") || out.Len() < 4 {
		t.Errorf("wrote %d bytes and said %q, %v", out.Len(), told.String(), err)
	}
	if err := run(nil, io.Discard, io.Discard); err == nil {
		t.Error("no file was named, and it did not mind")
	}
}
