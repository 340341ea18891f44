// Package outputs hands the audit log on to what collects logs: standard
// output, a file, or a receiver of syslog. Each output has a cursor in the
// database, which moves on after the events were handed over: what a replica
// that dies had sent and not noted is sent again, and nothing is left out.
package outputs

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/tokenhouse/tokenhouse/audit"
)

// Format is how an event is written.
type Format string

// The formats.
const (
	JSON Format = "json" // audit.Line, as the API and the export have it
	CEF  Format = "cef"  // ArcSight's Common Event Format
	OCSF Format = "ocsf" // Open Cybersecurity Schema Framework, as JSON
)

// Target says where events go, as the operator wrote it: one of
//
//	stdout:
//	file:///var/log/tokenhouse/audit.ndjson
//	syslog+udp://host:514
//	syslog+tcp://host:601
//	syslog+tls://host:6514
//
// with the parameters format=json|cef|ocsf (cef for syslog, else json),
// name=… (else the URL without parameters), from=start for a new output that
// is to have everything that is kept, and for TLS ca=FILE, cert=FILE, key=FILE
// and server_name=….
type Target struct {
	Name   string // of the cursor
	Kind   string // "stdout", "file" or "syslog"
	Format Format
	Start  bool // a new output begins with the oldest event, not with the next

	network string // of syslog: "udp", "tcp" or "tls"
	address string // host:port, or the path of the file
	blind   bool   // the receiver never ends its side
	tls     tlsFiles
}

// tlsFiles are what a connection by TLS needs besides the roots of the system.
type tlsFiles struct{ ca, cert, key, serverName string }

// ParseTarget reads a target.
func ParseTarget(text string) (Target, error) {
	u, err := url.Parse(text)
	if err != nil {
		return Target{}, fmt.Errorf("%q is not a URL", text)
	}
	q := u.Query()
	t := Target{Format: Format(q.Get("format")), Name: q.Get("name"), Start: q.Get("from") == "start", blind: q.Get("confirm") == "off"}
	t.tls = tlsFiles{q.Get("ca"), q.Get("cert"), q.Get("key"), q.Get("server_name")}
	for name := range q {
		if !slices.Contains([]string{"format", "name", "from", "confirm", "ca", "cert", "key", "server_name"}, name) {
			return Target{}, fmt.Errorf("%q has the unknown parameter %q", text, name)
		}
	}
	switch u.Scheme {
	case "stdout":
		t.Kind = "stdout"
	case "file":
		t.Kind, t.address = "file", u.Path
		if u.Opaque != "" {
			t.address = u.Opaque
		}
	case "syslog+udp", "syslog+tcp", "syslog+tls":
		t.Kind, t.network, t.address = "syslog", strings.TrimPrefix(u.Scheme, "syslog+"), u.Host
	default:
		return Target{}, fmt.Errorf("%q is no URL of stdout, file, syslog+udp, syslog+tcp or syslog+tls", text)
	}
	return t.checked(text, u)
}

// ports are the registered ones: RFC 5426 §3.3, RFC 5425 §4.1; that of TCP is
// customary (RFC 6587 §3.2).
var ports = map[string]string{"udp": "514", "tcp": "601", "tls": "6514"}

func (t Target) checked(text string, u *url.URL) (Target, error) {
	if t.Kind == "syslog" && u.Port() == "" && u.Hostname() != "" {
		t.address = net.JoinHostPort(u.Hostname(), ports[t.network])
	}
	if t.Format == "" {
		t.Format = JSON
		if t.Kind == "syslog" {
			t.Format = CEF
		}
	}
	if t.Name == "" {
		t.Name = u.Scheme + ":" + t.address
	}
	from, confirm := u.Query().Get("from"), u.Query().Get("confirm")
	switch {
	case t.Kind == "file" && !strings.HasPrefix(t.address, "/"):
		return t, fmt.Errorf("%q names no absolute path; write file:///var/log/audit.ndjson", text)
	case t.Kind == "syslog" && (u.Hostname() == "" || u.Path != ""):
		return t, fmt.Errorf("%q must be %s://host:port", text, u.Scheme)
	case u.User != nil || u.Fragment != "":
		return t, fmt.Errorf("an output has no user and no fragment")
	case !slices.Contains([]Format{JSON, CEF, OCSF}, t.Format):
		return t, fmt.Errorf("%q has the format %q; there are json, cef and ocsf", text, t.Format)
	case from != "" && from != "start":
		return t, fmt.Errorf("%q begins at %q; there is from=start, and nothing for what happens from now on", text, from)
	case confirm != "" && (confirm != "off" || t.network != "tcp" && t.network != "tls"):
		return t, fmt.Errorf("%q has confirm=%s; syslog over TCP and TLS has confirm=off", text, confirm)
	case t.network != "tls" && t.tls != (tlsFiles{}):
		return t, fmt.Errorf("%q has parameters of TLS, which syslog+tls:// alone has", text)
	case (t.tls.cert == "") != (t.tls.key == ""):
		return t, fmt.Errorf("%q has one of cert and key; it takes both", text)
	case len(t.Name) > 200:
		return t, fmt.Errorf("%q has a name of more than 200 bytes", text)
	}
	return t, nil
}

// encode writes the event in the target's format, without a line break.
func (t Target) encode(e audit.Event, version string) ([]byte, error) {
	switch t.Format {
	case CEF:
		return []byte(audit.CEF(e, version)), nil
	case OCSF:
		return json.Marshal(audit.OCSF(e, version))
	default:
		return json.Marshal(audit.LineOf(e))
	}
}
