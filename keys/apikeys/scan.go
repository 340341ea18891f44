package apikeys

import (
	"bytes"
	"errors"
	"io"

	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// Found is a credential that stands in a text.
type Found struct {
	Line       int // counts from 1
	Credential secret.Plain
}

// Hint tells the credential from others without giving it away, as Key.Hint does.
func (f Found) Hint() string {
	s := f.Credential.Reveal()
	return s[:len(s)-bodySize+lookupSize] + "…" + s[len(s)-4:]
}

// scanChunk is how much is read at once, in bytes.
const scanChunk = 64 << 10

// Scan reads r to its end and reports every credential in it, in order, of the
// prefix, or of any where it is empty. Shape and checksum decide, so that among
// four thousand million texts of the shape about one is reported wrongly, and
// it does not matter what stands around a key. NUL bytes are passed over: text
// in UTF-16 and binary files are read like any other. What is compressed or
// encrypted is not looked into. Memory is bounded, whatever r holds.
func Scan(r io.Reader, prefix string, report func(Found)) error {
	s := scanner{prefix: prefix, report: report, line: 1, buf: make([]byte, 0, scanChunk+maxSize)}
	for {
		n, err := r.Read(s.buf[len(s.buf):cap(s.buf)])
		s.take(n)
		s.search()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// scanner looks through a window that moves over the text.
type scanner struct {
	prefix string
	report func(Found)
	buf    []byte
	at     int // the next separator is looked for from here
	line   int // of the first byte of buf
}

// take adds the n bytes that were read behind buf, without the NULs.
func (s *scanner) take(n int) {
	fresh := s.buf[len(s.buf) : len(s.buf)+n]
	kept := len(s.buf)
	if bytes.IndexByte(fresh, 0) < 0 {
		s.buf = s.buf[:kept+n]
		return
	}
	for _, c := range fresh {
		if c != 0 {
			s.buf = append(s.buf, c) // never overtakes what it reads
		}
	}
}

// search looks at every separator whose body has been read, and moves the window.
func (s *scanner) search() {
	for {
		i := bytes.IndexByte(s.buf[s.at:], '_')
		if i < 0 {
			s.at = len(s.buf)
			break
		}
		if s.at+i+bodySize >= len(s.buf) {
			s.at += i
			break
		}
		s.at += i + 1
		if start, ok := s.credential(s.at - 1); ok {
			text := string(s.buf[start : s.at+bodySize])
			s.report(Found{Line: s.line + bytes.Count(s.buf[:start], []byte{'\n'}), Credential: secret.Of(text)})
			s.at += bodySize
		}
	}
	if gone := s.at - maxPrefix; gone > 0 {
		s.line += bytes.Count(s.buf[:gone], []byte{'\n'})
		s.buf = s.buf[:copy(s.buf, s.buf[gone:])]
		s.at -= gone
	}
}

// credential tells where the credential with that last separator begins.
func (s *scanner) credential(separator int) (start int, ok bool) {
	body := s.buf[separator+1 : separator+1+bodySize]
	if !base62(string(body[lookupSize:])) || !base62(string(body[:lookupSize])) {
		return 0, false
	}
	if s.prefix != "" {
		start = separator - len(s.prefix)
		return start, start >= 0 && string(s.buf[start:separator]) == s.prefix && LooksLike(string(s.buf[start:separator+1+bodySize]))
	}
	for start = separator - 1; start >= 0 && separator-start <= maxPrefix && CheckPrefix(string(s.buf[start:start+1])) == nil; start-- {
		if LooksLike(string(s.buf[start : separator+1+bodySize])) {
			return start, true
		}
	}
	return 0, false
}
