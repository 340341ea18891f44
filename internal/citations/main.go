// Command citations writes docs/spec.md: each clause of a standard that a comment of the code cites, and where.
package main

import (
	"fmt"
	"os"
)

func main() {
	found, err := collect(os.DirFS("."))
	if err == nil {
		err = os.WriteFile("docs/spec.md", page(found), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "citations:", err)
		os.Exit(1)
	}
}
