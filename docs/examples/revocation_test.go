package examples_test

import (
	"strings"
	"testing"
)

// What docs/revocation.md shows works as it is printed, in a plain shell.
func TestTheRevocationGuide(t *testing.T) {
	c := newClone(t)
	var text strings.Builder
	for _, block := range fences(t, "../revocation.md", "sh") {
		text.WriteString(block + "echo\n") // curl ends no line
	}
	s := c.shell(text.String(), "PASSWORD="+adminPassword)
	for _, want := range []string{
		`"status":{"status_list":{"idx":\d+,"uri":"http://` + c.house + `/oauth2/status-lists/`, `{"status_lists":\["http://`,
		`"ttl":60.*"bits":1|"bits":1.*"ttl":60`, `"entries":\[{"sid":"sess_`, `^id: `, `^data: ey`,
	} {
		s.until(want)
	}
	s.finish()
}
