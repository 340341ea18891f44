package demo

import (
	"slices"
	"sync"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/secret"
)

const (
	seeded  = 10     // rows of each kind that an organisation finds on its first visit
	maxRows = 1000   // of one kind and organisation
	maxOrgs = 10_000 // kept; beyond it everything starts anew
)

// row is an agent or an incident.
type row struct {
	ID        string    `json:"id"`
	Org       string    `json:"organization_id"`
	Name      string    `json:"name,omitempty"`     // of an agent
	Title     string    `json:"title,omitempty"`    // of an incident
	Severity  string    `json:"severity,omitempty"` // of an incident
	Status    string    `json:"status"`
	CreatedAt time.Time `json:"created_at"`
}

// org is what one organisation has. Rows are kept oldest first.
type org struct {
	mu         sync.Mutex
	agents     []row
	incidents  []row
	executions int
}

// shelf picks the rows of one kind.
type shelf func(*org) *[]row

func agents(o *org) *[]row    { return &o.agents }
func incidents(o *org) *[]row { return &o.incidents }

// desk keeps the organisations and answers requests.
type desk struct {
	resource *Resource
	mu       sync.Mutex
	orgs     map[string]*org
}

// of returns the organisation's rows, seeded on its first visit.
func (d *desk) of(t tenant) (*org, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if o, ok := d.orgs[string(t)]; ok {
		return o, nil
	}
	if len(d.orgs) >= maxOrgs {
		clear(d.orgs)
	}
	o, err := d.seed(t)
	if err != nil {
		return nil, err
	}
	d.orgs[string(t)] = o
	return o, nil
}

func (d *desk) seed(t tenant) (*org, error) {
	o := &org{}
	names := []string{"atlas", "borealis", "cinder", "dorado", "ember", "fathom", "gale", "harbor", "isthmus", "juniper"}
	titles := []string{
		"API latency above objective", "Disk almost full", "Certificate expires soon", "Replica lags behind", "Queue depth rising",
		"Login failures from one network", "Pod restarts in a loop", "Backup was late", "Webhook deliveries fail", "Clock drift on a node",
	}
	for i := range seeded {
		a, err := d.newRow("agt_", t)
		if err != nil {
			return nil, err
		}
		a.Name, a.Status = names[i]+"-agent", []string{"online", "offline"}[i%5/4]
		in, err := d.newRow("inc_", t)
		if err != nil {
			return nil, err
		}
		in.Title, in.Severity, in.Status = titles[i], severities[i%len(severities)], []string{"open", "resolved"}[i%2]
		o.agents, o.incidents = append(o.agents, a), append(o.incidents, in)
	}
	return o, nil
}

func (d *desk) newRow(kind string, t tenant) (row, error) {
	id, err := secret.Text(d.resource.Random, 22)
	return row{ID: kind + id, Org: string(t), CreatedAt: d.resource.Now().UTC().Truncate(time.Millisecond)}, err
}

// page returns at most limit rows, newest first, that follow the row before;
// false where before is not a row.
func (o *org) page(s shelf, before string, limit int) (rows []row, more, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := *s(o)
	end := len(all)
	if before != "" {
		if end = find(all, before); end < 0 {
			return nil, false, false
		}
	}
	start := max(end-limit, 0)
	rows = slices.Clone(all[start:end])
	slices.Reverse(rows)
	return rows, start > 0, true
}

func (o *org) get(s shelf, id string) (row, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := *s(o)
	i := find(all, id)
	if i < 0 {
		return row{}, false
	}
	return all[i], true
}

// add keeps the row; false where there are too many.
func (o *org) add(s shelf, r row) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := s(o)
	if len(*all) >= maxRows {
		return false
	}
	*all = append(*all, r)
	return true
}

// remove drops the row; false where there is none.
func (o *org) remove(s shelf, id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := s(o)
	i := find(*all, id)
	if i < 0 {
		return false
	}
	*all = slices.Delete(*all, i, i+1)
	return true
}

func find(rows []row, id string) int {
	return slices.IndexFunc(rows, func(r row) bool { return r.ID == id })
}
