package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// maxSecret bounds what is read as one secret, in bytes.
const maxSecret = 16 << 10

// passwordFlags adds the two ways to hand over a password. There is no third:
// every user of the machine may read arguments.
func passwordFlags(c *cobra.Command, what string) {
	c.Flags().Bool("password-stdin", false, "read "+what+" from standard input")
	c.Flags().String("password-file", "", "read "+what+" from the first line of a file")
	c.MarkFlagsMutuallyExclusive("password-stdin", "password-file")
}

// password reads what passwordFlags promised. It is empty where neither flag is given.
func (p *process) password(c *cobra.Command) (secret.Plain, error) {
	if yes, _ := c.Flags().GetBool("password-stdin"); yes {
		return firstLine(p.Stdin, "standard input")
	}
	path, _ := c.Flags().GetString("password-file")
	if path == "" {
		return secret.Plain{}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return secret.Plain{}, err
	}
	defer f.Close()
	return firstLine(f, path)
}

// firstLine is the text before the first line break. Spaces belong to it.
func firstLine(r io.Reader, name string) (secret.Plain, error) {
	line, err := bufio.NewReader(io.LimitReader(r, maxSecret)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return secret.Plain{}, fmt.Errorf("read %s: %w", name, err)
	}
	line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	if line == "" {
		return secret.Plain{}, fmt.Errorf("%s is empty; a password is expected on its first line", name)
	}
	return secret.Of(line), nil
}
