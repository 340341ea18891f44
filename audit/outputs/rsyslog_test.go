package outputs

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/tlstest"
)

// received is what rsyslog says a message was.
type received struct {
	Facility, Severity, Host, App, Process, ID, Time, Text string
}

// rsyslog is a real one, which takes messages over TCP and over TLS and hands
// on what it made of them.
type rsyslog struct {
	dir      string
	tcp, tls string       // ports
	said     bytes.Buffer // read after it ended
}

const rsyslogConf = `
global(workDirectory="%[1]s" maxMessageSize="64k" parser.permitSlashInProgramName="off"
	defaultNetstreamDriverCAFile="%[2]s" defaultNetstreamDriverCertFile="%[2]s" defaultNetstreamDriverKeyFile="%[3]s")
module(load="imtcp")
input(type="imtcp" address="127.0.0.1" port="0" listenPortFileName="%[1]s/tcp" ruleset="all")
input(type="imtcp" address="127.0.0.1" port="0" listenPortFileName="%[1]s/tls" ruleset="all"
	streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="anon")
template(name="parts" type="list" option.jsonf="on") {
	property(outname="Facility" name="syslogfacility" format="jsonf")
	property(outname="Severity" name="syslogseverity" format="jsonf")
	property(outname="Host" name="hostname" format="jsonf")
	property(outname="App" name="app-name" format="jsonf")
	property(outname="Process" name="procid" format="jsonf")
	property(outname="ID" name="msgid" format="jsonf")
	property(outname="Time" name="timereported" dateFormat="rfc3339" format="jsonf")
	property(outname="Text" name="msg" format="jsonf")
}
ruleset(name="all") { action(type="omfile" file="%[1]s/out" template="parts") }
`

func startRsyslog(t *testing.T, certificate, key string) *rsyslog {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "rsyslog.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, rsyslogConf, dir, certificate, key), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &rsyslog{dir: dir}
	program, err := exec.LookPath("rsyslogd")
	if err != nil {
		program = "/usr/sbin/rsyslogd" // which not everybody's PATH has
	}
	cmd := exec.Command(program, "-n", "-f", conf, "-i", filepath.Join(dir, "pid"))
	cmd.Stdout, cmd.Stderr = &r.said, &r.said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("rsyslog said: %s", &r.said)
		}
	})
	r.tcp = strings.TrimSpace(string(r.file(t, "tcp", 1)))
	r.tls = strings.TrimSpace(string(r.file(t, "tls", 1)))
	return r
}

// file waits until rsyslog has written so many lines, or a part of one, to the
// file, and returns it.
func (r *rsyslog) file(t *testing.T, name string, lines int) []byte {
	t.Helper()
	looks := time.NewTicker(5 * time.Millisecond)
	defer looks.Stop()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-looks.C {
		text, err := os.ReadFile(filepath.Join(r.dir, name))
		if err == nil && len(text) > 0 && (bytes.Count(text, []byte("\n")) >= lines || lines == 1) {
			return text
		}
	}
	t.Fatalf("rsyslog did not write %d lines to %s", lines, name)
	return nil
}

// messages waits until there are n in all, and returns those from the first on.
func (r *rsyslog) messages(t *testing.T, first, n int) (out []received) {
	t.Helper()
	for line := range bytes.Lines(r.file(t, "out", n)) {
		var m received
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		out = append(out, m)
	}
	if len(out) != n {
		t.Fatalf("rsyslog has %d messages, not %d", len(out), n)
	}
	return out[first:]
}

// A real rsyslog takes what is sent as RFC 5424 says, over TCP and TLS with
// octet counting, confirms it by ending its side, and has each event once, in
// order and whole.
func TestRsyslogReceivesTheAuditLog(t *testing.T) {
	pair, ca := tlstest.Vouched(t, "siem.example")
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	r := startRsyslog(t, ca, key)
	n := batchSize + 3
	for before, target := range []string{
		"syslog+tcp://127.0.0.1:" + r.tcp + "?from=start&format=ocsf",
		"syslog+tls://127.0.0.1:" + r.tls + "?from=start&format=cef&server_name=siem.example&ca=" + ca,
	} {
		w := newWorld()
		w.add(n)
		if err := w.replica(t, "a", target).Deliver(t.Context()); err != nil {
			t.Fatalf("%s: %v", target, err)
		}
		for i, m := range r.messages(t, before*n, before*n+n) {
			want := received{Facility: "13", Severity: "3", Host: "host", App: "tokenhouse", Process: "42", ID: "login.failed", Time: m.Time, Text: m.Text}
			at, err := time.Parse(time.RFC3339Nano, m.Time)
			if m != want || err != nil || !at.Equal(clock.Add(time.Duration(i+1)*time.Millisecond)) {
				t.Fatalf("%s: event %d is %+v, %v", target, i+1, m, err)
			}
			if strings.Contains(target, "ocsf") {
				var event struct {
					Metadata struct {
						Sequence int `json:"sequence"`
					} `json:"metadata"`
				}
				if err := json.Unmarshal([]byte(m.Text), &event); err != nil || event.Metadata.Sequence != i+1 {
					t.Fatalf("event %d: %s, %v", i+1, m.Text, err)
				}
			} else if got := seqs(t, []string{m.Text}); got[0] != i+1 || !strings.HasPrefix(strings.TrimSpace(m.Text), "CEF:0|tokenhouse|") {
				t.Fatalf("event %d: %s", i+1, m.Text)
			}
		}
	}
}
