package server

import "net/http"

// field is a header field. Its name must be in canonical form: "Etag".
type field struct{ name, value string }

// setAll is h.Set of each, with one allocation for all the values.
func setAll(h http.Header, fields ...field) {
	values := make([]string, len(fields))
	for i, f := range fields {
		values[i] = f.value
		h[f.name] = values[i : i+1 : i+1] // no room to grow: an Add copies
	}
}
