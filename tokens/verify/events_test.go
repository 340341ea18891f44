package verify

import (
	"bufio"
	"errors"
	"slices"
	"strings"
	"testing"
)

func readAll(text string, limit int) (out []string, err error) {
	e := &events{r: bufio.NewReader(strings.NewReader(text)), limit: limit}
	for {
		data, err := e.next()
		if err != nil {
			return out, err
		}
		out = append(out, data)
	}
}

func TestEventsAreRead(t *testing.T) {
	for text, want := range map[string][]string{
		"data: a\n\n":                                {"a"},
		"\xef\xbb\xbfdata:a\r\n\r\ndata:  b\r\r":     {"a", " b"},
		":\n\nid: 7\nevent: x\ndata: a\ndata: b\n\n": {"a\nb"},
		"data\n\ndata:\n\ndatax: no\n\ndata: y\n\n":  {"y"},
		"data: not ended\n":                          nil,
		"data: a\n:comment\nretry: 5\ndata: b\n\n":   {"a\nb"},
	} {
		if got, _ := readAll(text, 100); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	for _, text := range []string{"data: " + strings.Repeat("x", 101), strings.Repeat("data: xxxxxxxxx\n", 11)} {
		if _, err := readAll(text, 100); !errors.Is(err, errLongEvent) {
			t.Errorf("a long event: %v", err)
		}
	}
	if got, _ := readAll(strings.Repeat("z", 60<<10)+"\ndata: a\n\n", 100); !slices.Equal(got, []string{"a"}) {
		t.Errorf("after a long line of no meaning: %q", got)
	}
	for _, noise := range []string{"z", ":\n\n", "data\n\n", "\n"} {
		if got, err := readAll("data: a\n\n"+strings.Repeat(noise, 70<<10/len(noise))+"data: b\n\n", 100); !errors.Is(err, errLongEvent) || !slices.Equal(got, []string{"a"}) {
			t.Errorf("%q without an end: %q, %v", noise, got, err)
		}
	}
}

// However the bytes come, an event keeps its bound, has no line end of any
// other kind, and is read the same when it is written again.
func FuzzEvents(f *testing.F) {
	f.Add("data: a\n\n")
	f.Add("\xef\xbb\xbfid: 1\r\ndata: a\rdata:b\r\n\r\n")
	f.Add(":\n\ndata\n\ndata: \n\n")
	f.Fuzz(func(t *testing.T, text string) {
		const limit = 64
		got, _ := readAll(text, limit)
		for _, data := range got {
			if data == "" || len(data) > limit+strings.Count(data, "\n") || strings.Contains(data, "\r") {
				t.Fatalf("%q from %q", data, text)
			}
			again, _ := readAll("data: "+strings.ReplaceAll(data, "\n", "\ndata: ")+"\n\n", limit)
			if len(data) <= limit && !slices.Equal(again, []string{data}) {
				t.Fatalf("%q became %q", data, again)
			}
		}
	})
}
