package demo

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"unicode/utf8"
)

// maxBody is the largest body read, in bytes.
const maxBody = 64 << 10

// readObject reads a JSON object of strings. A member that is not among the
// names is refused by its name, and a missing one is empty.
func readObject(w http.ResponseWriter, r *http.Request, names ...string) (map[string]string, *problem) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return nil, &errMedia
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, &errTooLarge
	}
	var members map[string]json.RawMessage
	if err != nil || !utf8.Valid(body) || json.Unmarshal(body, &members) != nil || members == nil {
		return nil, &errMalformed
	}
	out := map[string]string{}
	for name, raw := range members {
		if !slices.Contains(names, name) {
			return nil, invalid(name[:min(len(name), 64)], "is not a field of this request")
		}
		var v *string
		if json.Unmarshal(raw, &v) != nil || v == nil {
			return nil, invalid(name, "must be a string")
		}
		out[name] = *v
	}
	return out, nil
}
