package verify

import (
	"bufio"
	"errors"
)

// events reads server-sent events (WHATWG HTML §9.2.6) with bounded memory.
type events struct {
	r     *bufio.Reader
	limit int // bytes of one event's data
	begun bool
	noise int  // bytes beside data since the last event
	skip  bool // a line feed that follows is part of the line end already seen
}

var errLongEvent = errors.New("an event of the feed is too long")

// maxField is the longest name of a field looked at, its colon and space included.
const maxField = 7

// maxNoise is how many bytes may come between two events beside their data:
// comments, names, and what nobody understands.
const maxNoise = 64 << 10

// next returns the data of the next event that has any. Ids, names and waiting
// times are not read: what counts of them is inside the signature.
func (e *events) next() (string, error) {
	if !e.begun {
		e.begun = true
		if bom, err := e.r.Peek(3); err == nil && string(bom) == "\xef\xbb\xbf" {
			_, _ = e.r.Discard(3) // they are there
		}
	}
	var data []byte
	some := false
	for {
		n := len(data)
		if some {
			data = append(data, '\n')
		}
		kept, blank, err := e.line(&data)
		switch {
		case err != nil:
			return "", err // an event that was not ended does not count
		case kept:
			some = true
		default:
			data = data[:n]
		}
		if blank {
			if some && len(data) > 0 {
				e.noise = 0
				return string(data), nil
			}
			data, some = data[:0], false
		}
	}
}

// line reads one line and adds it to data where it is a line of data.
func (e *events) line(data *[]byte) (kept, blank bool, err error) {
	var name []byte // the beginning of the line
	length := 0
	for {
		c, err := e.r.ReadByte()
		if err != nil {
			return false, false, err
		}
		if e.noise >= maxNoise {
			return false, false, errLongEvent
		}
		if c == '\n' && e.skip {
			e.skip = false
			continue
		}
		if e.skip = c == '\r'; e.skip || c == '\n' {
			e.noise++
			break
		}
		if length++; len(name) < maxField {
			name = append(name, c)
		}
		switch {
		case length <= len("data:") || string(name[:len("data:")]) != "data:":
			e.noise++
		case length == len("data: ") && c == ' ': // one space is no data
		case len(*data) >= e.limit:
			return false, false, errLongEvent
		default:
			*data = append(*data, c)
		}
	}
	field := string(name)
	return field == "data" || length >= len("data:") && field[:len("data:")] == "data:", length == 0, nil
}
