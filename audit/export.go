package audit

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// exportBatch is how many links are read at once.
const exportBatch = 1000

// Extent is what an export has: the whole deployment, or one organisation
// where Org is not nil (the empty one is the deployment's own events).
type Extent struct {
	Org *ident.OrgID
	// After leaves out what comes before: links up to this ID of the whole
	// deployment, or up to this position of one organisation.
	After int64
}

// Exported counts what an export wrote.
type Exported struct {
	Events  int64
	Pruned  int64 // places whose events retention removed
	Through int64 // give it as After to go on from there
}

// ProvenLine is a line with its place in the chain of its organisation.
type ProvenLine struct {
	Line
	Class    Class  `json:"class"`
	Position int64  `json:"position"`
	Previous string `json:"prev_hash"`
	Hash     string `json:"hash"`
}

// prunedLine stands where retention removed an event.
type prunedLine struct {
	Org      ident.OrgID `json:"org_id"`
	Time     string      `json:"time"`
	Class    Class       `json:"class"`
	Body     string      `json:"body"`
	Position int64       `json:"position"`
	Previous string      `json:"prev_hash"`
	Hash     string      `json:"hash"`
}

// closingClaims end an export: what it has, in which order.
type closingClaims struct {
	Issuer   string       `json:"iss"`
	IssuedAt int64        `json:"iat"`
	Org      *ident.OrgID `json:"org_id"` // null: the whole deployment
	After    int64        `json:"after"`
	Through  int64        `json:"through"`
	Events   int64        `json:"events"`
	Pruned   int64        `json:"pruned"`
	Order    string       `json:"order"` // digest of every line in its order
}

// Export writes the log as NDJSON, oldest first: everything that committed
// before the call, and a closing line without which it is not complete. After
// each batch progress, where not nil, hears how many lines it had.
func (s *Sealer) Export(ctx context.Context, w io.Writer, e Extent, progress func(int)) (Exported, error) {
	out := bufio.NewWriterSize(w, 64<<10)
	x := &exporting{Sealer: s, extent: e, out: out, lines: json.NewEncoder(out), heads: map[ident.OrgID]Head{}, order: newOrder(), progress: progress}
	x.lines.SetEscapeHTML(false)
	x.done.Through = e.After
	// What retention removes meanwhile is recorded by events that come last.
	for again := true; again; {
		through, err := x.sealed(ctx)
		if err != nil {
			return x.done, err
		}
		before := x.done.Pruned
		if err := x.upTo(ctx, through); err != nil {
			return x.done, err
		}
		again = x.done.Pruned > before
	}
	if err := x.close(ctx); err != nil {
		return x.done, err
	}
	return x.done, out.Flush()
}

// exporting is one export.
type exporting struct {
	*Sealer
	extent   Extent
	out      *bufio.Writer
	lines    *json.Encoder
	heads    map[ident.OrgID]Head
	order    hash.Hash
	done     Exported
	progress func(int)
	missing  int64 // places that are not there
	removed  int64 // places that retention removed with all that was before them in their chains
}

// newOrder digests the hashes of lines in their order.
func newOrder() hash.Hash {
	h := sha256.New()
	h.Write([]byte("tokenhouse audit order 1\n"))
	return h
}

// sealed returns up to where there is something to be exported, signed for.
func (x *exporting) sealed(ctx context.Context) (int64, error) {
	if _, err := x.Store.Seal(ctx); err != nil {
		return 0, err
	}
	end, err := x.end(ctx, x.extent)
	if err != nil {
		return 0, err
	}
	return end, x.sign(ctx)
}

func (x *exporting) upTo(ctx context.Context, through int64) error {
	for x.done.Through < through {
		links, err := x.linked(ctx, x.extent, x.done.Through, int(min(exportBatch, through-x.done.Through)))
		if err != nil {
			return err
		}
		if len(links) == 0 { // the newest link of a chain is never removed
			return fmt.Errorf("the audit log has no place %d, and retention did not remove it", through)
		}
		if err := x.batch(ctx, links, through); err != nil {
			return err
		}
		if x.progress != nil {
			x.progress(len(links))
		}
		if err := x.out.Flush(); err != nil {
			return err
		}
	}
	if n := x.missing - x.removed; n > 0 && x.extent.After == 0 {
		return fmt.Errorf("the audit log lacks %d places that retention did not remove", n)
	}
	return nil
}

func (x *exporting) batch(ctx context.Context, links []Linked, through int64) error {
	statements, err := x.Store.Checkpoints(ctx, x.extent.Org, links[0].ID-1, links[len(links)-1].ID)
	if err != nil {
		return err
	}
	signed := make(map[int64]string, len(statements))
	for _, c := range statements {
		signed[c.Link] = c.JWS
	}
	for _, l := range links {
		place := l.place(x.extent)
		if place > through {
			return nil
		}
		x.missing += place - x.done.Through - 1
		x.done.Through = place
		if err := x.link(ctx, l); err != nil {
			return err
		}
		if jws := signed[l.ID]; jws != "" {
			if err := x.statement("checkpoint", jws); err != nil {
				return err
			}
		}
	}
	return nil
}

// link writes one link, after the base of its chain where it is the first that
// is kept.
func (x *exporting) link(ctx context.Context, l Linked) error {
	head, known := x.heads[l.Shard]
	if l.Position > 1 && head.Position != l.Position-1 {
		b, err := x.Store.BaseOf(ctx, l.Shard)
		if err != nil {
			return err
		}
		switch {
		case b.Position == l.Position-1:
			x.removed += b.Position - head.Position
			head = Head{l.Shard, b.Position, b.Hash}
			if err := x.statement("base", b.JWS); err != nil {
				return err
			}
		case known:
			return fmt.Errorf("the audit log of %q has no position %d", l.Shard, head.Position+1)
		default:
			prev, err := x.Store.LinkedOf(ctx, l.Shard, l.Position-2, 1)
			if err != nil {
				return err
			}
			if len(prev) == 0 || prev[0].Position != l.Position-1 {
				return fmt.Errorf("the audit log of %q has no position %d", l.Shard, l.Position-1)
			}
			head = prev[0].Head()
		}
	}
	x.heads[l.Shard] = l.Head()
	x.order.Write(l.Hash[:])
	if l.Pruned {
		x.done.Pruned++
		return x.lines.Encode(map[string]prunedLine{"pruned": {
			l.Shard, l.Time.UTC().Format(time.RFC3339Nano), l.Class, l.Body.String(), l.Position, head.Hash.String(), l.Hash.String(),
		}})
	}
	x.done.Events++
	return x.lines.Encode(ProvenLine{LineOf(l.Event), l.Class, l.Position, head.Hash.String(), l.Hash.String()})
}

func (x *exporting) statement(kind, jws string) error {
	h := hashOf(jws)
	x.order.Write(h[:])
	return x.lines.Encode(map[string]string{kind: jws})
}

func (x *exporting) close(ctx context.Context) error {
	claims := closingClaims{
		Issuer: x.Issuer, IssuedAt: x.Now().Unix(), Org: x.extent.Org, After: x.extent.After, Through: x.done.Through,
		Events: x.done.Events, Pruned: x.done.Pruned, Order: Hash(x.order.Sum(nil)).String(),
	}
	jws, err := signed(ctx, x.Signer, claims, ClosingType)
	if err != nil {
		return err
	}
	return x.lines.Encode(struct {
		Closing string `json:"closing"`
		Through int64  `json:"through"`
	}{jws, x.done.Through})
}
