package server

import (
	"bytes"
	"compress/gzip"
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

// forEver is how long a browser may keep a file whose address names its version.
const forEver = 365 * 24 * time.Hour

func consoleAssets() map[string]document {
	out := map[string]document{}
	for name, a := range shell.Assets() {
		out[name] = compressed(documentOf(a.Kind, a.Body, assetAge))
	}
	return out
}

// consoleAsset serves a file that pages of the console load.
func (s *Server) consoleAsset(c *gin.Context) {
	name := c.Param("name")
	d, ok := s.documents.console[name]
	if !ok {
		s.fail(c.Writer, c.Request, fault.NotFound)
		return
	}
	if shell.Assets()[name].Version == c.Query("v") {
		d.maxAge = forEver
	}
	publish(s, func(context.Context) (document, error) { return d, nil })(c)
}

// compressed offers the document gzip-encoded too, where that makes it smaller.
// Only what is the same for everybody may be: from the size of a compressed page
// one could learn its secrets.
func compressed(d document) document {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return d
	}
	if _, err := w.Write(d.body); err != nil || w.Close() != nil {
		return d
	}
	if out.Len() < len(d.body) {
		d.packed = out.Bytes()
	}
	return d
}

// takesGzip reads Accept-Encoding (RFC 9110 §12.5.3).
func takesGzip(values []string) bool {
	for part := range strings.SplitSeq(strings.Join(values, ","), ",") {
		coding, params, _ := strings.Cut(part, ";")
		coding = strings.ToLower(strings.TrimSpace(coding))
		if coding != "gzip" && coding != "*" {
			continue
		}
		name, weight, weighed := strings.Cut(params, "=")
		if !weighed || strings.TrimSpace(strings.ToLower(name)) != "q" {
			return true
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(weight), 64)
		return err == nil && q > 0
	}
	return false
}
