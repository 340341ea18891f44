package audit

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"
)

// vendor is what device products know us by.
const vendor = "tokenhouse"

// Severity is how much an event should worry somebody, from its code.
type Severity int

// The severities.
const (
	Information Severity = iota
	Warning
	Alarm
)

// Severity returns that of the name: what its code ends with.
func (n Name) Severity() Severity {
	switch code := n.Code(); {
	case strings.HasSuffix(code, "E"):
		return Alarm
	case strings.HasSuffix(code, "W"):
		return Warning
	default:
		return Information
	}
}

// cefSeverities are those of ArcSight's Common Event Format, 0 to 10.
var cefSeverities = map[Severity]string{Information: "3", Warning: "6", Alarm: "8"}

// CEF writes the event as one line of the Common Event Format, version 0, of
// the tokenhouse of that version. Keys without a place of their own in the
// format are custom strings with a label. What is longer than the format's
// dictionary allows is cut.
func CEF(e Event, version string) string {
	var b strings.Builder
	b.WriteString("CEF:0")
	for _, field := range []string{vendor, vendor, version, e.Name.Code(), string(e.Name), cefSeverities[e.Name.Severity()]} {
		b.WriteByte('|')
		b.WriteString(cefHeader.Replace(field))
	}
	b.WriteByte('|')
	x := extension{&b, true}
	x.add("rt", strconv.FormatInt(e.Time.UnixMilli(), 10), 0)
	x.add("externalId", string(e.ID), 0)
	x.add("outcome", string(e.Outcome), 63)
	x.add("reason", e.Reason, 1023)
	if ip := e.Origin.IP; ip.IsValid() {
		x.address(ip)
	}
	x.add("requestClientApplication", e.Origin.UserAgent, 1023)
	x.add("suid", e.Actor.ID, 1023)
	x.add("suser", e.Actor.Name, 1023)
	x.add("spriv", e.Actor.Type, 1023)
	for _, t := range e.Targets {
		if t.Type == "user" {
			x.add("duid", t.ID, 1023)
			x.add("duser", t.Name, 1023)
			break
		}
	}
	x.custom("cs1", "orgId", string(e.Org))
	x.custom("cs2", "requestId", string(e.Origin.Request))
	x.custom("cs3", "sessionId", string(e.Session))
	x.custom("cs4", "keyId", string(e.Key))
	if len(e.Targets) > 0 {
		x.custom("cs5", "targets", compact(e.Targets))
	}
	if len(e.Meta) > 0 {
		x.custom("cs6", "meta", compact(e.Meta))
	}
	x.custom("cn1", "seq", strconv.FormatInt(e.Seq, 10))
	return b.String()
}

// The escapes of the format. A line break cannot stand in a header at all.
var (
	cefHeader = strings.NewReplacer(`\`, `\\`, `|`, `\|`, "\n", " ", "\r", " ")
	cefValue  = strings.NewReplacer(`\`, `\\`, `=`, `\=`, "\n", `\n`, "\r", `\r`)
)

// extension is the part of key=value pairs.
type extension struct {
	to    *strings.Builder
	first bool
}

// add writes the pair where there is a value, which is cut after most bytes
// where that is not 0.
func (x *extension) add(key, value string, most int) {
	if value == "" {
		return
	}
	if !x.first {
		x.to.WriteByte(' ')
	}
	x.first = false
	x.to.WriteString(key + "=" + cefValue.Replace(clipped(value, most)))
}

func (x *extension) custom(key, label, value string) {
	const most = 4000
	if value != "" {
		x.add(key+"Label", label, 0)
		x.add(key, value, most)
	}
}

// address writes where it came from: the format has places of their own for
// the two families.
func (x *extension) address(ip netip.Addr) {
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		x.add("src", ip.String(), 0)
		return
	}
	x.custom("c6a2", "Source IPv6 Address", ip.String())
}

// clipped is at most that many bytes of s, and whole characters; all of it
// where most is 0.
func clipped(s string, most int) string {
	if most == 0 || len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}

// compact encodes what has no way to fail: strings, slices and maps of them.
func compact(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}
