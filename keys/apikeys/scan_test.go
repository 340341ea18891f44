package apikeys

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"
)

// found is what Scan reports of r, as "line credential".
func found(t testing.TB, r io.Reader, prefix string) (lines []int, credentials []string) {
	t.Helper()
	err := Scan(r, prefix, func(f Found) {
		lines, credentials = append(lines, f.Line), append(credentials, f.Credential.Reveal())
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines, credentials
}

func TestScanFindsKeysWhereverTheyStand(t *testing.T) {
	a, b, odd := minted(t, "th_live"), minted(t, "overwatch_ak"), minted(t, strings.Repeat("x", maxPrefix))
	text := "KEY=" + a + "\n# nothing\nhttp://u:" + b + "@host/" + a + "%20\\n\r\n{\"k\":\"" + odd + "\"}" + a + "tail_" + b + "_" + b
	want := []string{a, b, a, odd, a, b, b}
	lines, got := found(t, strings.NewReader(text), "")
	if !slices.Equal(got, want) || !slices.Equal(lines, []int{1, 3, 3, 4, 4, 4, 4}) {
		t.Errorf("found %v at %v", got, lines)
	}
	if _, got := found(t, strings.NewReader(text), "th_live"); !slices.Equal(got, []string{a, a, a}) {
		t.Errorf("of one prefix: %v", got)
	}
	spoilt := a[:len(a)-1] + string('0'+(a[len(a)-1]+1-'0')%9)
	if _, got := found(t, strings.NewReader(spoilt+" "+a[:len(a)-1]+"\n"+a[:20]+" "+a[20:]), ""); len(got) != 0 {
		t.Errorf("found what is no key: %v", got)
	}
}

// A key is found across the borders of what is read at once, in binary files
// and in UTF-16, and in a file larger than memory would be.
func TestScanReadsAnyStream(t *testing.T) {
	key := minted(t, "th_live")
	for border := scanChunk - 60; border <= scanChunk+5; border++ {
		text := strings.Repeat("_", border) + key
		if _, got := found(t, strings.NewReader(text), ""); len(got) != 1 || !strings.HasSuffix(got[0], key[len("th_live"):]) {
			t.Fatalf("at %d: %v", border, got)
		}
	}
	text := "first\n" + key + "\nlast"
	for name, r := range map[string]io.Reader{
		"byte by byte": iotest.OneByteReader(strings.NewReader(text)),
		"with its end": iotest.DataErrReader(strings.NewReader(text)),
		"UTF-16LE":     bytes.NewReader(encoded16(text, binary.LittleEndian)),
		"UTF-16BE":     bytes.NewReader(encoded16(text, binary.BigEndian)),
		"binary":       io.MultiReader(bytes.NewReader([]byte("\x7fELF\x00\n\x00")), strings.NewReader(key), bytes.NewReader([]byte{0, 'A', 0})),
	} {
		if lines, got := found(t, r, ""); !slices.Equal(got, []string{key}) || lines[0] != 2 {
			t.Errorf("%s: %v at %v", name, got, lines)
		}
	}
	large := io.MultiReader(io.LimitReader(repeated("lorem_ipsum dolor\n"), 18<<20), strings.NewReader(key))
	if lines, got := found(t, large, ""); !slices.Equal(got, []string{key}) || lines[0] != 1<<20+1 {
		t.Errorf("large: %v at %v", got, lines)
	}
	if err := Scan(iotest.ErrReader(io.ErrUnexpectedEOF), "", func(Found) {}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a stream that fails: %v", err)
	}
}

func encoded16(s string, order binary.AppendByteOrder) (out []byte) {
	for _, u := range utf16.Encode([]rune(s)) {
		out = order.AppendUint16(out, u)
	}
	return out
}

// repeated is its own text again and again.
type repeated string

func (r repeated) Read(b []byte) (n int, err error) {
	for len(b)-n >= len(r) {
		n += copy(b[n:], r)
	}
	if n == 0 {
		n = copy(b, r[:len(b)])
	}
	return n, nil
}

func TestAFoundKeyIsNotShown(t *testing.T) {
	key := minted(t, "th_live")
	err := Scan(strings.NewReader(key), "", func(f Found) {
		if got, want := f.Hint(), key[:len("th_live_")+8]+"…"+key[len(key)-4:]; got != want {
			t.Errorf("hint %q, want %q", got, want)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// FuzzScan compares the scanner with one that tries every substring, whatever
// the pieces in which the text arrives.
func FuzzScan(f *testing.F) {
	key := minted(f, "th_live")
	for _, s := range []string{"", "_", key, key + key, "a_" + key + "\n_" + key[1:], "x\x00" + key, strings.Repeat("_", 99) + key} {
		f.Add([]byte(s), 7)
	}
	f.Fuzz(func(t *testing.T, text []byte, piece int) {
		if len(text) > 4096 {
			return
		}
		text = bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("KEY"), []byte(key)), []byte{0}, nil)
		var want []string
		for end := 1; end <= len(text); end++ {
			for start := max(0, end-maxSize); start < end; start++ {
				if s := string(text[start:end]); LooksLike(s) {
					want = append(want, s)
				}
			}
		}
		_, whole := found(t, bytes.NewReader(text), "")
		_, pieces := found(t, &stutter{text, max(1, piece%97)}, "")
		if !slices.Equal(whole, pieces) {
			t.Errorf("whole %v, in pieces %v", whole, pieces)
		}
		for _, w := range want { // one key may be the end of another's text: the shorter is told
			if !slices.ContainsFunc(whole, func(g string) bool { return strings.HasSuffix(w, g) || strings.Contains(g, w) }) {
				t.Errorf("%q was not found; found %v", w, whole)
			}
		}
		for _, g := range whole {
			if !slices.Contains(want, g) {
				t.Errorf("%q was found and is no key", g)
			}
		}
	})
}

// stutter is a reader that returns a few bytes at a time.
type stutter struct {
	text  []byte
	piece int
}

func (s *stutter) Read(b []byte) (int, error) {
	if len(s.text) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), s.piece)], s.text)
	s.text = s.text[n:]
	return n, nil
}
