package server

import (
	"strconv"
	"strings"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// The size of a page.
const (
	defaultLimit = 50
	maxLimit     = 200
)

// pageRequest is the part of a list request that all lists share.
type pageRequest struct {
	limit  int
	before string
	list   list
}

// readPage reads limit and cursor. filters are the list's other parameters, as the
// cursor is bound to them.
func (p *pageRequest) readPage(i *input, filters ...string) error {
	p.limit = defaultLimit
	p.list = list{org: i.in.caller.Org, route: i.in.route, filter: strings.Join(filters, "\x00")}
	limit, err := i.value("limit")
	if err != nil {
		return err
	}
	if limit != "" {
		if p.limit, err = strconv.Atoi(limit); err != nil || p.limit < 1 || p.limit > maxLimit {
			return fault.Refuse("limit", "must be a whole number from 1 to "+strconv.Itoa(maxLimit))
		}
	}
	cursor, err := i.value("cursor")
	if err != nil || cursor == "" {
		return err
	}
	p.before, err = openCursor(i.s.Cursors, p.list, cursor)
	return err
}

// ask is one item more than the page has, to know whether another page follows.
func (p pageRequest) ask() ident.Page { return ident.Page{Limit: p.limit + 1, Before: p.before} }

// page is one page of a list, newest first.
type page[T any] struct {
	Data []T     `json:"data"`
	Next *string `json:"next_cursor"` // null: this was the last page
}

// paged cuts items to the page that was asked for and shows each.
func paged[D, T any](s *Server, p pageRequest, items []D, key func(D) string, show func(D) T) page[T] {
	out := page[T]{Data: make([]T, 0, min(len(items), p.limit))}
	for _, it := range items[:min(len(items), p.limit)] {
		out.Data = append(out.Data, show(it))
	}
	if len(items) > p.limit {
		next := sealCursor(s.Cursors, p.list, key(items[p.limit-1]))
		out.Next = &next
	}
	return out
}
