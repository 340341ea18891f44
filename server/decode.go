package server

import (
	"cmp"
	"encoding"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/tokenhouse/tokenhouse/internal/fault"
)

// Limits of a request body. No request of ours comes near them.
const (
	maxBody    = 64 << 10
	maxDepth   = 8
	maxMembers = 1000
	maxEcho    = 64 // of an unknown name, in the refusal
)

// readBody returns the whole body, which must be uncompressed JSON. An empty
// body is returned as nil without an error.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > maxBody {
		return nil, fault.TooLarge
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, fault.New(fault.UnsupportedMedia, "Send the body without a Content-Encoding.")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, fault.TooLarge
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Malformed, "The body ended early.")
	}
	if len(body) == 0 {
		return nil, nil
	}
	kinds := r.Header.Values("Content-Type")
	if len(kinds) != 1 {
		return nil, fault.UnsupportedMedia
	}
	kind, params, err := mime.ParseMediaType(kinds[0])
	if err != nil || kind != "application/json" || params["charset"] != "" && !strings.EqualFold(params["charset"], "utf-8") {
		return nil, fault.UnsupportedMedia
	}
	return body, nil
}

// decode reads body into the struct that into points to. Names match exactly;
// an unknown name or a wrong type is named by its path.
func decode(body []byte, into any) error {
	tree, err := parse(body)
	if err != nil {
		return fault.Wrap(err, fault.Malformed, "The body is not acceptable JSON: "+err.Error()+".")
	}
	var refused []fault.Field
	conform(reflect.TypeOf(into).Elem(), "", tree, &refused)
	if f := fault.Refusals(refused); f != nil {
		return f
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fault.Wrap(err, fault.Malformed, "The body is not acceptable JSON.")
	}
	return nil
}

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

// conform collects what in v does not fit t. A null is an absent value.
func conform(t reflect.Type, path string, v any, refused *[]fault.Field) {
	refuse := func(detail string) { *refused = append(*refused, fault.Field{Name: path, Detail: detail}) }
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	s, isText := v.(string)
	switch {
	case v == nil && path != "":
	case reflect.PointerTo(t).Implements(textUnmarshaler):
		if !isText {
			refuse("must be a string")
		} else if err := reflect.New(t).Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s)); err != nil {
			refuse(err.Error())
		}
	case t.Kind() == reflect.String && !isText:
		refuse("must be a string")
	case t.Kind() == reflect.String && strings.ContainsRune(s, 0):
		refuse("must not contain NUL")
	case t.Kind() == reflect.Bool:
		if _, ok := v.(bool); !ok {
			refuse("must be true or false")
		}
	case t.Kind() == reflect.Int64:
		n, ok := v.(json.Number)
		if _, err := n.Int64(); !ok || err != nil {
			refuse("must be a whole number")
		}
	case t.Kind() == reflect.Slice:
		conformList(t, path, v, refused)
	case t.Kind() == reflect.Struct:
		conformObject(t, path, v, refused)
	}
}

func conformList(t reflect.Type, path string, v any, refused *[]fault.Field) {
	list, ok := v.([]any)
	if !ok {
		*refused = append(*refused, fault.Field{Name: path, Detail: "must be a list"})
		return
	}
	for i, e := range list {
		at := path + "[" + strconv.Itoa(i) + "]"
		if e == nil {
			*refused = append(*refused, fault.Field{Name: at, Detail: "must not be null"})
			continue
		}
		conform(t.Elem(), at, e, refused)
	}
}

func conformObject(t reflect.Type, path string, v any, refused *[]fault.Field) {
	object, ok := v.(map[string]any)
	if !ok {
		*refused = append(*refused, fault.Field{Name: cmp.Or(path, "body"), Detail: "must be an object"})
		return
	}
	known := members(t)
	for _, name := range slices.Sorted(maps.Keys(object)) {
		at := name[:min(len(name), maxEcho)]
		if path != "" {
			at = path + "." + at
		}
		if field, ok := known[name]; ok {
			conform(field, at, object[name], refused)
		} else {
			*refused = append(*refused, fault.Field{Name: at, Detail: "is not a known field"})
		}
	}
}

// membersOf remembers what members returned: reflection over a struct's tags
// costs more than decoding a refresh.
var membersOf sync.Map // of map[string]reflect.Type, by reflect.Type

// members returns the JSON members of a request struct by name. Embedded
// structs without a name lend theirs. The map is shared: it must not be changed.
func members(t reflect.Type) map[string]reflect.Type {
	if known, ok := membersOf.Load(t); ok {
		return known.(map[string]reflect.Type)
	}
	out := map[string]reflect.Type{}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			maps.Copy(out, members(f.Type))
		case name != "" && name != "-":
			out[name] = f.Type
		}
	}
	membersOf.Store(t, out)
	return out
}
