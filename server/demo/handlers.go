package demo

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

var severities = []string{"low", "medium", "high", "critical"}

// handlers are the actions by method and path, as Routes has them.
func (d *desk) handlers() map[string]action {
	return map[string]action{
		"GET /api/v1/agents":                  d.list(agents),
		"POST /api/v1/agents":                 d.createAgent,
		"GET /api/v1/agents/:id":              d.get(agents),
		"DELETE /api/v1/agents/:id":           d.remove(agents),
		"GET /api/v1/incidents":               d.list(incidents),
		"POST /api/v1/incidents":              d.createIncident,
		"GET /api/v1/incidents/:id":           d.get(incidents),
		"DELETE /api/v1/incidents/:id":        d.remove(incidents),
		"GET /api/v1/metrics":                 d.figures,
		"POST /api/v1/procedures/:id/execute": d.execute,
	}
}

// with looks the organisation up before the action; running out of randomness
// for its first rows is the only way to fail.
func (d *desk) with(w http.ResponseWriter, t tenant, do func(*org)) {
	o, err := d.of(t)
	if err != nil {
		fail(w, errInternal)
		return
	}
	do(o)
}

type rowPage struct {
	Data []row   `json:"data"`
	Next *string `json:"next_cursor"`
}

func (d *desk) list(s shelf) action {
	return func(w http.ResponseWriter, r *http.Request, t tenant) {
		limit, err := strconv.Atoi(cmp.Or(r.URL.Query().Get("limit"), "50"))
		if err != nil || limit < 1 || limit > 200 {
			fail(w, *invalid("limit", "must be a number from 1 to 200"))
			return
		}
		d.with(w, t, func(o *org) {
			rows, more, ok := o.page(s, r.URL.Query().Get("cursor"), limit)
			if !ok {
				fail(w, errCursor)
				return
			}
			page := rowPage{Data: rows}
			if more {
				page.Next = &rows[len(rows)-1].ID
			}
			answer(w, http.StatusOK, page)
		})
	}
}

func (d *desk) get(s shelf) action {
	return func(w http.ResponseWriter, r *http.Request, t tenant) {
		d.with(w, t, func(o *org) {
			row, ok := o.get(s, r.PathValue("id"))
			if !ok {
				fail(w, errNotFound)
				return
			}
			answer(w, http.StatusOK, row)
		})
	}
}

func (d *desk) remove(s shelf) action {
	return func(w http.ResponseWriter, r *http.Request, t tenant) {
		d.with(w, t, func(o *org) {
			if !o.remove(s, r.PathValue("id")) {
				fail(w, errNotFound)
				return
			}
			w.WriteHeader(http.StatusNoContent)
		})
	}
}

func (d *desk) createAgent(w http.ResponseWriter, r *http.Request, t tenant) {
	values, p := readObject(w, r, "name")
	if p == nil {
		p = checkText("name", values["name"])
	}
	if p != nil {
		fail(w, *p)
		return
	}
	d.create(w, t, agents, row{ID: "agt_", Name: values["name"], Status: "online"})
}

func (d *desk) createIncident(w http.ResponseWriter, r *http.Request, t tenant) {
	values, p := readObject(w, r, "title", "severity")
	if p == nil {
		p = checkText("title", values["title"])
	}
	severity := cmp.Or(values["severity"], "medium")
	if p == nil && !slices.Contains(severities, severity) {
		p = invalid("severity", "must be one of "+strings.Join(severities, ", "))
	}
	if p != nil {
		fail(w, *p)
		return
	}
	d.create(w, t, incidents, row{ID: "inc_", Title: values["title"], Severity: severity, Status: "open"})
}

// create completes a row, whose ID is its kind so far, and keeps it.
func (d *desk) create(w http.ResponseWriter, t tenant, s shelf, r row) {
	d.with(w, t, func(o *org) {
		made, err := d.newRow(r.ID, t)
		if err != nil {
			fail(w, errInternal)
			return
		}
		r.ID, r.Org, r.CreatedAt = made.ID, made.Org, made.CreatedAt
		if !o.add(s, r) {
			fail(w, errFull)
			return
		}
		answer(w, http.StatusCreated, r)
	})
}

type figures struct {
	Org           string `json:"organization_id"`
	Agents        int    `json:"agents"`
	AgentsOnline  int    `json:"agents_online"`
	Incidents     int    `json:"incidents"`
	IncidentsOpen int    `json:"incidents_open"`
	Executions    int    `json:"procedure_executions"`
}

func (d *desk) figures(w http.ResponseWriter, _ *http.Request, t tenant) {
	d.with(w, t, func(o *org) {
		o.mu.Lock()
		f := figures{Org: string(t), Agents: len(o.agents), Incidents: len(o.incidents), Executions: o.executions}
		for _, r := range o.agents {
			if r.Status == "online" {
				f.AgentsOnline++
			}
		}
		for _, r := range o.incidents {
			if r.Status == "open" {
				f.IncidentsOpen++
			}
		}
		o.mu.Unlock()
		answer(w, http.StatusOK, f)
	})
}

type execution struct {
	Procedure string    `json:"procedure_id"`
	Number    int       `json:"number"` // of this organisation's executions
	Status    string    `json:"status"`
	At        time.Time `json:"executed_at"`
}

func (d *desk) execute(w http.ResponseWriter, r *http.Request, t tenant) {
	id := r.PathValue("id")
	if len(id) > 100 || !utf8.ValidString(id) {
		fail(w, errNotFound)
		return
	}
	d.with(w, t, func(o *org) {
		o.mu.Lock()
		o.executions++
		n := o.executions
		o.mu.Unlock()
		answer(w, http.StatusAccepted, execution{Procedure: id, Number: n, Status: "accepted", At: d.resource.Now().UTC().Truncate(time.Millisecond)})
	})
}

func checkText(name, v string) *problem {
	if n := utf8.RuneCountInString(v); n >= 1 && n <= 100 && strings.TrimSpace(v) != "" {
		return nil
	}
	return invalid(name, "must have 1 to 100 characters")
}
