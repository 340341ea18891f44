// Command build makes the list of breached passwords that the binary carries, from
// a text with one password on each line, the most common first:
//
//	go run ./accounts/breached/build LIST >accounts/breached/passwords.bin
//
// docs/breached-passwords.md says which text that was.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"github.com/tokenhouse/tokenhouse/accounts/breached"
)

// Of passwords of at least alwaysFrom characters all are taken: the usual policy
// asks for 15, and there are few. The rest of most is filled with the most common
// of those that the laxest policy would accept.
const (
	most       = 180_000
	alwaysFrom = 12
	shortest   = 8
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

func run(args []string, out, told io.Writer) error {
	if len(args) != 1 {
		return errors.New("name one file: a password on each line, the most common first")
	}
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	chosen, err := choose(f)
	if err != nil {
		return err
	}
	coded := breached.Encode(chosen)
	if _, err := out.Write(coded); err != nil {
		return err
	}
	_, err = fmt.Fprintf(told, "%d passwords, %d bytes\n", len(chosen), len(coded))
	return err
}

// choose reads the passwords to be listed, each once.
func choose(r io.Reader) ([]string, error) {
	var long, short []string
	seen := map[string]bool{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		p := breached.Folded(lines.Text())
		if !utf8.ValidString(lines.Text()) || seen[p] {
			continue
		}
		seen[p] = true
		switch n := utf8.RuneCountInString(p); {
		case n >= alwaysFrom:
			long = append(long, p)
		case n >= shortest:
			short = append(short, p)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	all := append(long, short...)
	return all[:min(len(all), most)], nil
}
