package ident

// Page asks for one page of a list, newest first.
type Page struct {
	Limit  int    // 1..200
	Before string // the identifier (or sequence) after which the page starts; empty for the first page
}
