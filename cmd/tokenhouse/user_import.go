package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// maxImportLine bounds one line of an import, in bytes.
const maxImportLine = 64 << 10

func (p *process) userImportCommand() *cobra.Command {
	c := p.userDo("import FILE", "Make many users, with the password hashes they have",
		`  tokenhouse user import users.ndjson --org acme
  echo '{"email":"jane@example.com","role":"viewer","password_hash":"$argon2id$v=19$m=19456,t=2,p=1$…"}' | tokenhouse user import - --org acme`, p.importUsers)
	c.Long = `Reads one JSON object a line: email, name, role (viewer where missing) and
password_hash, an Argon2id hash in PHC form. A line that is refused is told with
its number and does not stop the others; the exit code is then 1. Run again with
--skip-existing, an interrupted import goes on where it ended.`
	c.Args = exactly("a file, or - for standard input")
	c.Flags().Bool("skip-existing", false, "pass over addresses that have an account already")
	return c
}

// imported is a line of the file.
type imported struct {
	Email        string `json:"email"`
	Name         string `json:"name"`
	Role         string `json:"role"`
	PasswordHash string `json:"password_hash"`
}

// importTally is what became of the lines.
type importTally struct {
	Created int             `json:"created"`
	Skipped int             `json:"skipped"`
	Refused []refusedImport `json:"refused"`
}

type refusedImport struct {
	Line    int    `json:"line"`
	Problem string `json:"problem"`
}

func (p *process) importUsers(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	in, err := p.open(c.Flags().Arg(0))
	if err != nil {
		return err
	}
	defer in.Close()
	skip, _ := c.Flags().GetBool("skip-existing")
	tally := importTally{Refused: []refusedImport{}}
	bar := p.progress("users")
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxImportLine)
	for n := 1; lines.Scan() && ctx.Err() == nil; n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		switch err := importUser(ctx, h, caller, lines.Bytes()); {
		case err == nil:
			tally.Created++
		case errors.Is(err, fault.Conflict) && skip:
			tally.Skipped++
		case errors.Is(err, fault.Conflict):
			tally.Refused = append(tally.Refused, refusedImport{n, "this address has an account already"})
		case fault.Of(err).Code == fault.Unavailable:
			return fmt.Errorf("line %d: %w", n, err)
		default:
			tally.Refused = append(tally.Refused, refusedImport{n, explain(err)})
		}
		bar.add(1)
	}
	bar.done()
	if err := errors.Join(lines.Err(), ctx.Err()); err != nil {
		return err
	}
	return p.tellImport(c, tally)
}

func importUser(ctx context.Context, h *house.House, caller ident.Caller, line []byte) error {
	l := imported{Role: accounts.RoleViewer}
	if err := strictly(line, &l); err != nil {
		return err
	}
	_, err := h.People.CreateUser(ctx, caller, accounts.NewUser{Email: l.Email, Name: l.Name, Role: l.Role, PasswordHash: l.PasswordHash})
	return err
}

// strictly decodes one JSON object and refuses members it does not know.
func strictly(line []byte, v any) error {
	var known map[string]json.RawMessage
	if err := json.Unmarshal(line, &known); err != nil {
		return errors.New("the line is not a JSON object")
	}
	for name := range known {
		switch name {
		case "email", "name", "role", "password_hash":
		default:
			return fmt.Errorf("there is no member %q; there are email, name, role and password_hash", name)
		}
	}
	if err := json.Unmarshal(line, v); err != nil {
		return errors.New("every member is a text")
	}
	return nil
}

func (p *process) tellImport(c *cobra.Command, tally importTally) error {
	err := printThing(c, tally,
		field{"created", fmt.Sprint(tally.Created)}, field{"skipped", fmt.Sprint(tally.Skipped)}, field{"refused", fmt.Sprint(len(tally.Refused))})
	for _, r := range tally.Refused {
		fmt.Fprintf(p.Stderr, "line %d: %s\n", r.Line, r.Problem)
	}
	if err == nil && len(tally.Refused) > 0 {
		return errSilent
	}
	return err
}

// open opens a file, or standard input for "-".
func (p *process) open(path string) (io.ReadCloser, error) {
	if path == "-" {
		return io.NopCloser(p.Stdin), nil
	}
	return os.Open(path)
}
