package server

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// endpoint is one operation: typed values in, typed values out, no HTTP.
type endpoint[Req, Resp any] func(context.Context, ident.Caller, Req) (Resp, error)

// none is the request that has nothing to read and the response without a body.
type none struct{}

// reader is a request that takes more than a JSON body: path, query, headers,
// cookies. It runs after the body was decoded.
type reader interface{ read(*input) error }

// bodyless is a request whose JSON body may be left out.
type bodyless interface{ bodyOptional() }

// headed is a response that sets headers: cookies, validators.
type headed interface {
	head(*Server, http.Header)
}

// statused is a response that may have another status than its route's.
type statused interface{ status(usual int) int }

// handle adapts an endpoint: decode, call, encode. Its callers hold no
// ResponseWriter.
func handle[Req, Resp any](s *Server, status int, fn endpoint[Req, Resp]) gin.HandlerFunc {
	hasBody := len(members(reflect.TypeFor[Req]())) > 0
	return func(c *gin.Context) {
		var req Req
		if err := s.decodeRequest(c, hasBody, &req); err != nil {
			s.fail(c.Writer, c.Request, err)
			return
		}
		resp, err := fn(c.Request.Context(), inboundOf(c.Request.Context()).caller, req)
		if err != nil {
			s.fail(c.Writer, c.Request, err)
			return
		}
		s.answer(c, status, resp)
	}
}

func (s *Server) decodeRequest(c *gin.Context, hasBody bool, req any) error {
	if hasBody {
		body, err := readBody(c.Writer, c.Request)
		if err != nil {
			return err
		}
		if _, optional := req.(bodyless); body == nil && !optional {
			return fault.New(fault.Malformed, "A JSON body is required.")
		}
		if body != nil {
			if err := decode(body, req); err != nil {
				return err
			}
		}
	}
	if r, ok := req.(reader); ok {
		return r.read(&input{c: c, s: s, in: inboundOf(c.Request.Context())})
	}
	return nil
}

func (s *Server) answer(c *gin.Context, status int, resp any) {
	h := c.Writer.Header()
	if r, ok := resp.(headed); ok {
		r.head(s, h)
	}
	if r, ok := resp.(statused); ok {
		status = r.status(status)
	}
	if _, empty := resp.(none); empty || status == http.StatusNoContent {
		c.Status(status)
		c.Writer.WriteHeaderNow()
		return
	}
	kind, body, err := encoded(resp)
	if err != nil {
		s.fail(c.Writer, c.Request, err)
		return
	}
	setAll(h, field{"Content-Type", kind}, field{"Content-Length", strconv.Itoa(len(body))})
	c.Status(status)
	_, _ = c.Writer.Write(body) // the client may be gone
}

// encoder is a response that is not always JSON: a text is sent as it is.
type encoder interface {
	encode() (kind string, body any)
}

func encoded(resp any) (kind string, body []byte, err error) {
	kind = "application/json"
	if e, ok := resp.(encoder); ok {
		kind, resp = e.encode()
	}
	if text, ok := resp.(string); ok {
		return kind, []byte(text), nil
	}
	body, err = json.Marshal(resp)
	return kind, body, err
}

// maxQuery is the longest query looked at, in bytes.
const maxQuery = 8 << 10

// input reads the parts of a request that are not its body.
type input struct {
	c     *gin.Context
	s     *Server
	in    *inbound
	query url.Values
}

// values returns what the query says of name.
func (i *input) values(name string) ([]string, error) {
	if i.query == nil {
		raw := i.c.Request.URL.RawQuery
		q, err := url.ParseQuery(raw)
		if err != nil || len(raw) > maxQuery {
			return nil, fault.Wrap(err, fault.Malformed, "The query cannot be read.")
		}
		i.query = q
	}
	return i.query[name], nil
}

// value is values for a parameter that may be given once.
func (i *input) value(name string) (string, error) {
	vs, err := i.values(name)
	if err != nil {
		return "", err
	}
	if len(vs) > 1 {
		return "", fault.New(fault.Malformed, "The query parameter "+name+" was given more than once.")
	}
	if len(vs) == 0 {
		return "", nil
	}
	return vs[0], nil
}

// header returns a header that may be sent once, of at most limit bytes.
func (i *input) header(name string, limit int) (string, error) {
	vs := i.c.Request.Header.Values(name)
	if len(vs) > 1 || len(vs) == 1 && len(vs[0]) > limit {
		return "", fault.New(fault.Malformed, "The header "+name+" may be sent once, with at most "+strconv.Itoa(limit)+" bytes.")
	}
	if len(vs) == 0 {
		return "", nil
	}
	return vs[0], nil
}

func (i *input) cookie(name string) (string, error) { return cookie(i.c.Request, name) }

// pathID reads an identifier from the path. One that is malformed names nothing.
func pathID[T ~string](i *input, name string, parse func(string) (T, error)) (T, error) {
	id, err := parse(i.c.Param(name))
	if err != nil {
		return "", fault.Wrap(err, fault.NotFound, "")
	}
	return id, nil
}
