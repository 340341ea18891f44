package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// AuditExporter reads the log in the order of its chain: audit.Sealer.
type AuditExporter interface {
	// Export writes the log as NDJSON, in pieces, oldest first.
	Export(ctx context.Context, w io.Writer, e audit.Extent, progress func(int)) (audit.Exported, error)
	// Tail returns what the log got after the extent's.
	Tail(ctx context.Context, e audit.Extent, limit int) (audit.Tail, error)
}

// exportTimeout is how long a reader may take to read one piece.
const exportTimeout = 30 * time.Second

// auditExport asks for the log of the caller's organisation, or for what is of
// no organisation.
type auditExport struct {
	after      int64
	deployment bool
}

func (r *auditExport) read(i *input) error {
	after, err := i.value("after")
	if err != nil {
		return err
	}
	deployment, err := i.value("deployment")
	if err != nil {
		return err
	}
	if after != "" {
		if r.after, err = strconv.ParseInt(after, 10, 64); err != nil || r.after < 0 {
			return fault.Refusals([]fault.Field{{Name: "after", Detail: "must be the position of an event of an earlier export, or its through"}})
		}
	}
	if deployment != "" {
		if r.deployment, err = strconv.ParseBool(deployment); err != nil {
			return fault.Refusals([]fault.Field{{Name: "deployment", Detail: "must be true or false"}})
		}
	}
	return nil
}

// exportAudit serves GET /api/v1/audit-events/export. It takes as long as the
// reader reads; what fails on the way breaks the connection off, and a file
// without its closing line is known to be cut.
func (s *Server) exportAudit(c *gin.Context) {
	in, wire := inboundOf(c.Request.Context()), controller(c.Writer)
	extent, err := s.auditExtent(&input{c: c, s: s, in: in})
	if err != nil {
		s.fail(c.Writer, c.Request, err)
		return
	}
	// The listener's limits are for requests that are answered at once. What is
	// written has its own. (Where there are no limits there are none to lift.)
	_ = errors.Join(wire.SetReadDeadline(time.Time{}), wire.SetWriteDeadline(time.Time{}))
	out := &pieces{w: c.Writer, wire: wire}
	_, err = s.Services.Exporter.Export(in.whole, out, extent, nil)
	switch {
	case err == nil || in.whole.Err() != nil: // all is written, or nobody reads any more
	case !out.begun:
		s.fail(c.Writer, c.Request, err)
	default:
		s.Log.ErrorContext(c.Request.Context(), "an export of the audit log was broken off", "request_id", in.id, "err", err)
		panic(http.ErrAbortHandler)
	}
}

func (s *Server) auditExtent(i *input) (audit.Extent, error) {
	var req auditExport
	if err := req.read(i); err != nil {
		return audit.Extent{}, err
	}
	org := i.in.caller.Org
	if _, err := s.auditTenant(i.c.Request.Context(), i.in.caller, req.deployment); err != nil {
		return audit.Extent{}, err
	}
	if req.deployment {
		org = ident.OrgID("")
	}
	return audit.Extent{Org: &org, After: req.after}, nil
}

// pieces sends each piece at once, with a time of its own.
type pieces struct {
	w     gin.ResponseWriter
	wire  *http.ResponseController
	begun bool
}

// Write implements io.Writer.
func (p *pieces) Write(b []byte) (int, error) {
	if !p.begun {
		p.begun = true
		setAll(p.w.Header(),
			field{"Content-Type", "application/x-ndjson"},
			field{"Content-Disposition", `attachment; filename="audit.ndjson"`}, // SEC-WEB-15: nothing of the request is in it
			field{"Cache-Control", "no-store"},
			field{"X-Accel-Buffering", "no"}, // nginx would keep pieces back
		)
		p.w.WriteHeader(http.StatusOK)
	}
	defer limit(p.wire, exportTimeout)()
	n, err := p.w.Write(b)
	if err == nil {
		err = p.wire.Flush()
	}
	return n, err
}
