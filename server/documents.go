package server

import (
	"context"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/server/pages"
)

// document is something published: the same for everybody, ready to be sent.
type document struct {
	kind   string // media type
	body   []byte
	etag   string        // strong, with its quotes
	maxAge time.Duration // how long it may be believed without asking again
	policy string        // content security policy; that of every reply where empty
	packed []byte        // the body, gzip-encoded; nil where that is not offered
}

// documents are those made once, at the start.
type documents struct {
	openapi, metadata, docs document
	assets                  map[string]document // by path: what pages load
	console                 map[string]document // by name: what pages of the console load
}

func (d documents) asset(path string) document { return d.assets[path] }

// assetAge is short, because the path of an asset does not change with it.
const assetAge = 5 * time.Minute

func assets() map[string]document {
	out := map[string]document{}
	for _, a := range pages.Assets() {
		out[a.Path] = compressed(documentOf(a.Kind, a.Body, assetAge))
	}
	return out
}

func documentOf(kind string, body []byte, maxAge time.Duration) document {
	return document{kind: kind, body: body, maxAge: maxAge, etag: `"` + base64.RawURLEncoding.EncodeToString(secret.Sum(string(body))[:16]) + `"`}
}

// fixed is a document that never changes.
func fixed(d document) func(context.Context) (document, error) {
	return func(context.Context) (document, error) { return d, nil }
}

// publish adapts a document: any origin may read it, and whoever has it already
// is told so (RFC 9110 §13.1.2).
func publish(s *Server, get func(context.Context) (document, error)) gin.HandlerFunc {
	return func(c *gin.Context) {
		d, err := get(c.Request.Context())
		if err != nil {
			s.fail(c.Writer, c.Request, err)
			return
		}
		h := c.Writer.Header()
		setAll(h,
			field{"Cache-Control", "public, max-age=" + strconv.Itoa(int(d.maxAge/time.Second))},
			field{"Etag", d.etag},
			field{"Access-Control-Allow-Origin", "*"},
		)
		h.Del("Access-Control-Allow-Credentials")
		if d.policy != "" {
			h.Set("Content-Security-Policy", d.policy)
		}
		body, etag := d.body, d.etag
		if d.packed != nil {
			h.Add("Vary", "Accept-Encoding")
			if takesGzip(c.Request.Header.Values("Accept-Encoding")) {
				body, etag = d.packed, strings.TrimSuffix(etag, `"`)+`-gzip"`
				setAll(h, field{"Etag", etag}, field{"Content-Encoding", "gzip"})
			}
		}
		if knows(c.Request.Header.Values("If-None-Match"), etag) {
			h.Del("Content-Encoding")
			c.Status(http.StatusNotModified)
			c.Writer.WriteHeaderNow()
			return
		}
		setAll(h, field{"Content-Type", d.kind}, field{"Content-Length", strconv.Itoa(len(body))})
		c.Status(http.StatusOK)
		_, _ = c.Writer.Write(body) // the client may be gone
	}
}

// knows is the weak comparison of If-None-Match.
func knows(values []string, etag string) bool {
	for v := range strings.SplitSeq(strings.Join(values, ","), ",") {
		if v = strings.TrimSpace(v); v == "*" || strings.TrimPrefix(v, "W/") == etag {
			return true
		}
	}
	return false
}
