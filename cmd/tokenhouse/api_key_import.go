package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

func (p *process) apiKeyImportCommand() *cobra.Command {
	c := p.userDo("import FILE", "Accept keys that another system made, by their SHA-256 hashes",
		`  tokenhouse api-key import keys.ndjson --org acme --dry-run
  echo '{"hash":"9f86d081…","name":"deploy","owner":"jane@example.com","permissions":["agents:read"]}' | tokenhouse api-key import - --org acme`, p.importAPIKeys)
	c.Long = `Reads one JSON object a line, or a CSV file whose first line names the columns:
hash, the SHA-256 of the whole old key in hexadecimal or base64; name; owner, an
e-mail address or an id; permissions, a list, or in CSV separated by blanks;
expires_at in RFC 3339, empty or missing: never; last4, the last characters of the
old key, so that people recognise it. The old keys go on working as they are, and
a rotation replaces them. A line that is refused is told with its number and does
not stop the others; the exit code is then 1. What was imported before is passed
over, so that an import may be run again.`
	c.Args = exactly("a file, or - for standard input")
	c.Flags().Bool("dry-run", false, "check every line and import nothing")
	c.Flags().String("format", "", "ndjson or csv; by the name of the file where left out")
	return c
}

// importedKey is a line of the file.
type importedKey struct {
	Hash        string   `json:"hash"`
	Name        string   `json:"name"`
	Owner       string   `json:"owner"`
	Permissions []string `json:"permissions"`
	ExpiresAt   string   `json:"expires_at"`
	Last4       string   `json:"last4"`
}

// keyLines reads the file: each line with its number, io.EOF at the end. Where
// the problem is the line's own, it is a lineError.
type keyLines func() (line int, k importedKey, err error)

type lineError struct{ error }

// keyImport is one run of the import.
type keyImport struct {
	h      *house.House
	caller ident.Caller
	dry    bool
	owners map[string]ident.UserID
	tally  importTally

	lines []int // of batch
	batch []apikeys.Import
}

func (p *process) importAPIKeys(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	path := c.Flags().Arg(0)
	in, err := p.open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	format, _ := c.Flags().GetString("format")
	if format == "" && strings.EqualFold(filepath.Ext(path), ".csv") {
		format = "csv"
	}
	var next keyLines
	switch format {
	case "csv":
		next, err = csvKeys(in)
	case "", "ndjson":
		next = ndjsonKeys(in)
	default:
		err = fmt.Errorf("--format %q: it is ndjson or csv", format)
	}
	if err != nil {
		return err
	}
	run := keyImport{h: h, caller: caller, owners: map[string]ident.UserID{}, tally: importTally{Refused: []refusedImport{}}}
	run.dry, _ = c.Flags().GetBool("dry-run")
	bar := p.progress("keys")
	for ctx.Err() == nil {
		line, k, err := next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err := run.take(ctx, line, k, err); err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
		bar.add(1)
	}
	bar.done()
	if err := errors.Join(run.flush(ctx), ctx.Err()); err != nil {
		return err
	}
	slices.SortFunc(run.tally.Refused, func(a, b refusedImport) int { return a.Line - b.Line })
	return p.tellImport(c, run.tally)
}

// take puts a line into the batch, or refuses it. An error ends the import.
func (r *keyImport) take(ctx context.Context, line int, k importedKey, err error) error {
	var wrong lineError
	if err != nil && !errors.As(err, &wrong) {
		return err
	}
	var key apikeys.Import
	if err == nil {
		key, err = r.read(ctx, k)
	}
	switch {
	case err == nil:
		r.batch, r.lines = append(r.batch, key), append(r.lines, line)
	case fault.Of(err).Code == fault.Unavailable:
		return err
	default:
		r.refuse(line, err)
	}
	if len(r.batch) < apikeys.MaxImport {
		return nil
	}
	return r.flush(ctx)
}

func (r *keyImport) refuse(line int, err error) {
	r.tally.Refused = append(r.tally.Refused, refusedImport{line, explain(err)})
}

func (r *keyImport) flush(ctx context.Context) error {
	problems, err := r.h.APIKeys.Import(ctx, r.caller, r.batch, r.dry)
	if err != nil {
		return err
	}
	for i, problem := range problems {
		switch {
		case problem == nil:
			r.tally.Created++
		case errors.Is(problem, fault.Conflict):
			r.tally.Skipped++
		default:
			r.refuse(r.lines[i], problem)
		}
	}
	r.batch, r.lines = r.batch[:0], r.lines[:0]
	return nil
}

// read makes a key of what a line says.
func (r *keyImport) read(ctx context.Context, k importedKey) (apikeys.Import, error) {
	out := apikeys.Import{Last4: k.Last4, New: apikeys.New{Name: k.Name, Permissions: k.Permissions}}
	var err error
	if out.Hash, err = readHash(k.Hash); err != nil {
		return out, err
	}
	if k.ExpiresAt != "" {
		if out.ExpiresAt, err = time.Parse(time.RFC3339, k.ExpiresAt); err != nil {
			return out, fault.Refuse("expires_at", "must be a time such as 2027-01-31T00:00:00Z")
		}
	}
	if k.Owner == "" {
		return out, fault.Refuse("owner", "is required: an e-mail address or the id of a member")
	}
	owner, known := r.owners[k.Owner]
	if !known {
		if owner, err = findUser(ctx, r.h, r.caller, k.Owner); err != nil {
			return out, err
		}
		r.owners[k.Owner] = owner
	}
	out.Owner = owner
	return out, nil
}

// readHash reads a SHA-256 in hexadecimal, or in base64 of any alphabet, padded or not.
func readHash(text string) ([]byte, error) {
	text = strings.TrimPrefix(strings.TrimSpace(text), "sha256:")
	if b, err := hex.DecodeString(text); err == nil && len(b) == 32 {
		return b, nil
	}
	plain := strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(text), "=")
	if b, err := base64.RawStdEncoding.DecodeString(plain); err == nil && len(b) == 32 {
		return b, nil
	}
	return nil, fault.Refuse("hash", "must be a SHA-256 in hexadecimal or base64")
}

func ndjsonKeys(in io.Reader) keyLines {
	lines, n := bufio.NewScanner(in), 0
	lines.Buffer(nil, maxImportLine)
	return func() (int, importedKey, error) {
		for lines.Scan() {
			if n++; len(lines.Bytes()) == 0 {
				continue
			}
			var k importedKey
			d := json.NewDecoder(strings.NewReader(lines.Text()))
			d.DisallowUnknownFields()
			if err := d.Decode(&k); err != nil || d.More() {
				return n, k, lineError{errors.New("the line is not a JSON object of hash, name, owner, permissions, expires_at and last4")}
			}
			return n, k, nil
		}
		if lines.Err() != nil {
			return n + 1, importedKey{}, lines.Err()
		}
		return n, importedKey{}, io.EOF
	}
}

// keyColumns are the columns of a CSV file.
var keyColumns = []string{"hash", "name", "owner", "permissions", "expires_at", "last4"}

func csvKeys(in io.Reader) (keyLines, error) {
	r := csv.NewReader(in)
	r.FieldsPerRecord = -1
	head, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("the first line names the columns: %w", err)
	}
	at := map[string]int{}
	for i, name := range head {
		name = strings.ToLower(strings.TrimSpace(strings.TrimPrefix(name, "\ufeff")))
		if !slices.Contains(keyColumns, name) {
			return nil, fmt.Errorf("there is no column %q; there are %s", name, strings.Join(keyColumns, ", "))
		}
		at[name] = i
	}
	return func() (int, importedKey, error) {
		record, err := r.Read()
		if wrong := (*csv.ParseError)(nil); errors.As(err, &wrong) {
			return wrong.Line, importedKey{}, lineError{wrong.Err}
		}
		if err != nil {
			return 0, importedKey{}, err
		}
		line, _ := r.FieldPos(0)
		if len(record) != len(head) {
			return line, importedKey{}, lineError{fmt.Errorf("the line has %d fields and the first line %d", len(record), len(head))}
		}
		field := func(name string) string {
			if i, ok := at[name]; ok {
				return strings.TrimSpace(record[i])
			}
			return ""
		}
		return line, importedKey{
			Hash: field("hash"), Name: field("name"), Owner: field("owner"), Permissions: strings.Fields(field("permissions")),
			ExpiresAt: field("expires_at"), Last4: field("last4"),
		}, nil
	}, nil
}
