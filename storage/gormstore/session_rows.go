package gormstore

import (
	"fmt"
	"net/netip"

	"gorm.io/gorm"

	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/tokens"
)

func familyOf(g *gorm.DB, id ident.SessionID) (tokens.Family, error) {
	var r sessionRow
	if err := g.Where("id = ?", string(id)).Take(&r).Error; err != nil {
		return tokens.Family{}, notFound(err)
	}
	return r.domain()
}

// families returns what q finds.
func families(q *gorm.DB) ([]tokens.Family, error) {
	var rows []sessionRow
	if err := q.Find(&rows).Error; err != nil {
		return nil, unavailable(err)
	}
	out := make([]tokens.Family, len(rows))
	for i, r := range rows {
		var err error
		if out[i], err = r.domain(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

type sessionRow struct {
	ID          string `gorm:"primaryKey"`
	User        string `gorm:"column:user_id"`
	Org         string `gorm:"column:org_id"`
	Client      string `gorm:"column:client_id"`
	Method      string
	Created     int64 `gorm:"column:created_at"`
	Expires     int64 `gorm:"column:expires_at"`
	Refreshable bool
	Version     int64
	Proved      int64             `gorm:"column:authenticated_at"`
	Delegation  sessionDelegation `gorm:"embedded"`
	Chain       sessionChain      `gorm:"embedded"`
	Holder      sessionHolder     `gorm:"embedded"`
	Seen        sessionSeen       `gorm:"embedded"`
	Ended       sessionEnded      `gorm:"embedded"`
}

type sessionDelegation struct {
	Browser    string `gorm:"column:browser_session_id"`
	Offline    bool
	Authorized string
}

type sessionChain struct {
	Generation     uint32
	LastUsed       uint32
	PreviousAt     int64
	RetryKey       []byte
	ContestedFrom  uint32
	ContestedTo    uint32
	ContestedAt    int64
	ContestedAgent []byte
	Live           string
}

type sessionHolder struct {
	Network string
	Agent   []byte
	Proof   []byte
	Proven  bool
}

type sessionSeen struct {
	SeenAt    int64
	IP        string `gorm:"column:ip"`
	UserAgent string
}

type sessionEnded struct {
	RevokedAt     int64
	RevokedReason string
}

func (sessionRow) TableName() string { return "sessions" }

func sessionRowOf(f tokens.Family) sessionRow {
	c := f.Chain
	r := sessionRow{
		ID: string(f.ID), User: string(f.User), Org: string(f.Org), Client: string(f.Client), Method: f.Method,
		Created: micros(f.CreatedAt), Expires: micros(f.ExpiresAt), Refreshable: f.Refreshable, Version: f.Version,
		Proved:     micros(f.AuthenticatedAt),
		Delegation: sessionDelegation{Browser: string(f.Delegation.Browser), Offline: f.Delegation.Offline, Authorized: f.Delegation.Authorization},
		Chain: sessionChain{
			Generation: c.Generation, LastUsed: c.LastUsed, PreviousAt: micros(c.PreviousAt), RetryKey: digestBytes(c.RetryKey),
			ContestedFrom: c.Contested.From, ContestedTo: c.Contested.To, ContestedAt: micros(c.Contested.At), ContestedAgent: digestBytes(c.Contested.Agent),
			Live: string(c.Live),
		},
		Holder: sessionHolder{Network: f.Holder.Network, Agent: digestBytes(f.Holder.Agent), Proof: digestBytes(f.Holder.Proof), Proven: f.Holder.Proven},
		Seen:   sessionSeen{SeenAt: micros(f.Seen.At), UserAgent: f.Seen.UserAgent},
		Ended:  sessionEnded{RevokedAt: micros(f.Ended.At), RevokedReason: f.Ended.Reason},
	}
	if f.Seen.IP.IsValid() {
		r.Seen.IP = f.Seen.IP.String()
	}
	return r
}

func (r sessionRow) domain() (tokens.Family, error) {
	c := r.Chain
	f := tokens.Family{
		ID: ident.SessionID(r.ID), User: ident.UserID(r.User), Org: ident.OrgID(r.Org), Client: ident.ClientID(r.Client), Method: r.Method,
		CreatedAt: timeOf(r.Created), ExpiresAt: timeOf(r.Expires), Refreshable: r.Refreshable, Version: r.Version,
		AuthenticatedAt: timeOf(r.Proved),
		Delegation:      tokens.Delegation{Browser: ident.SessionID(r.Delegation.Browser), Offline: r.Delegation.Offline, Authorization: r.Delegation.Authorized},
		Chain: tokens.Chain{
			Generation: c.Generation, LastUsed: c.LastUsed, PreviousAt: timeOf(c.PreviousAt), RetryKey: digestOf(c.RetryKey),
			Contested: tokens.Contested{From: c.ContestedFrom, To: c.ContestedTo, At: timeOf(c.ContestedAt), Agent: digestOf(c.ContestedAgent)},
			Live:      tokens.Live(c.Live),
		},
		Holder: tokens.Holder{Network: r.Holder.Network, Agent: digestOf(r.Holder.Agent), Proof: digestOf(r.Holder.Proof), Proven: r.Holder.Proven},
		Seen:   tokens.Seen{At: timeOf(r.Seen.SeenAt), UserAgent: r.Seen.UserAgent},
		Ended:  tokens.Ended{At: timeOf(r.Ended.RevokedAt), Reason: r.Ended.RevokedReason},
	}
	if r.Seen.IP != "" {
		ip, err := netip.ParseAddr(r.Seen.IP)
		if err != nil {
			return f, fmt.Errorf("session %s: %w", r.ID, err)
		}
		f.Seen.IP = ip
	}
	return f, nil
}

// digestBytes stores a digest; none is no bytes.
func digestBytes(d tokens.Digest) []byte {
	if d == (tokens.Digest{}) {
		return []byte{}
	}
	return d[:]
}

// digestOf is the inverse of digestBytes.
func digestOf(b []byte) (d tokens.Digest) {
	copy(d[:], b)
	return d
}
