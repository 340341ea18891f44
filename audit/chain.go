package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// Class says how long an event is kept.
type Class string

// The classes. A name, once released, keeps its class.
const (
	Routine        Class = "routine"        // ordinary use, counted by hours
	Security       Class = "security"       // proofs of identity, refusals, sessions
	Administration Class = "administration" // what people or the deployment changed
	// Retention is of the events that tell what retention removed. It is kept as
	// long as what it tells of.
	Retention Class = "retention"
)

// Classes lists those that are kept for a time.
func Classes() []Class { return []Class{Routine, Security, Administration} }

// Hash is a SHA-256 digest.
type Hash [sha256.Size]byte

// Link is the place of an event in the chain of its shard: its organisation,
// or the deployment where the organisation is empty. A link outlives its event.
type Link struct {
	ID       int64 // the order of the whole deployment, from 1, without gaps
	Shard    ident.OrgID
	Position int64 // in the shard, from 1, without gaps
	Seq      int64 // of the event
	Time     time.Time
	Class    Class
	Body     Hash // of the event
	Hash     Hash // of the link, which commits to all links before it in the shard
	Pruned   bool // the event was removed by retention
}

// Linked is a link with its event; the event of a pruned link is zero.
type Linked struct {
	Link
	Event Event
}

// Head is where a chain stands: at position 0 with a zero hash before its
// first link.
type Head struct {
	Shard    ident.OrgID
	Position int64
	Hash     Hash
}

// Next returns the link that gives e its place after h, without an ID.
func (h Head) Next(e Event) Link {
	l := Link{Shard: e.Org, Position: h.Position + 1, Seq: e.Seq, Time: e.Time, Class: e.Name.Class(), Body: BodyOf(e)}
	l.Hash = l.hashAfter(h.Hash)
	return l
}

// Head returns where the chain stands after l.
func (l Link) Head() Head { return Head{Shard: l.Shard, Position: l.Position, Hash: l.Hash} }

// BodyOf returns the digest of an event: of its line in canonical form.
func BodyOf(e Event) Hash {
	return sha256.Sum256(appendLine(append(make([]byte, 0, 1024), bodyDomain...), LineOf(e)))
}

// What is hashed begins with what it is, so that no digest of one kind is one of
// another kind.
const (
	bodyDomain = "tokenhouse audit body 1\n"
	linkDomain = "tokenhouse audit link 1\n"
)

// hashOf names a signed statement.
func hashOf(jws string) Hash { return sha256.Sum256([]byte(jws)) }

// hashAfter commits to the time and the class beside the digest of the event,
// so that a link whose event was pruned still proves both.
func (l Link) hashAfter(prev Hash) Hash {
	b := make([]byte, 0, 256)
	b = append(b, linkDomain...)
	b = append(b, prev[:]...)
	b = appendText(b, string(l.Shard))
	b = binary.BigEndian.AppendUint64(b, uint64(l.Position))
	b = binary.BigEndian.AppendUint64(b, uint64(l.Time.UnixMicro()))
	b = appendText(b, string(l.Class))
	b = append(b, l.Body[:]...)
	return sha256.Sum256(b)
}

// appendText writes the length before the text, so that no two texts run into
// each other.
func appendText(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}
