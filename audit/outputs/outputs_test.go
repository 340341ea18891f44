package outputs

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/tlstest"
)

// seqs are the sequence numbers of events in CEF, in the order they came in.
func seqs(t *testing.T, texts []string) []int {
	t.Helper()
	out := make([]int, len(texts))
	for i, text := range texts {
		_, n, ok := strings.Cut(text, "cn1=")
		if _, err := fmt.Sscanf(n, "%d", &out[i]); !ok || err != nil {
			t.Fatalf("%q has no seq", text)
		}
	}
	return out
}

func upTo(n int) (out []int) {
	for i := range n {
		out = append(out, i+1)
	}
	return out
}

func TestEveryTransportDeliversEveryEventOnceAndInOrder(t *testing.T) {
	pair, ca := tlstest.Vouched(t, "siem.example")
	for network, serve := range map[string]func(*testing.T, *receiver) string{
		"udp": func(t *testing.T, r *receiver) string { return "syslog+udp://" + r.datagrams(t) },
		"tcp": func(t *testing.T, r *receiver) string {
			l := listen(t, "127.0.0.1:0")
			r.stream(t, l)
			return "syslog+tcp://" + l.Addr().String()
		},
		"tls": func(t *testing.T, r *receiver) string {
			l := listen(t, "127.0.0.1:0")
			r.stream(t, tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}))
			return "syslog+tls://" + l.Addr().String() + "?server_name=siem.example&ca=" + ca
		},
	} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			w, r := newWorld(), newReceiver()
			w.add(3)
			o := w.replica(t, "a", serve(t, r))
			if err := o.Deliver(t.Context()); err != nil { // what was before the output is not its
				t.Fatal(err)
			}
			more := batchSize + 7
			if network == "udp" {
				more = 20 // what comes faster than it is read, is lost
			}
			w.add(more)
			if err := o.Deliver(t.Context()); err != nil {
				t.Fatal(err)
			}
			texts := r.texts(t, more)
			if got := seqs(t, texts); !slices.Equal(got, upTo(more + 3)[3:]) {
				t.Errorf("got %v", got)
			}
			m := r.messages[0]
			if *m.Facility != 13 || *m.Severity != 3 || *m.Appname != "tokenhouse" || *m.ProcID != "42" || *m.MsgID != "login.failed" ||
				*m.Hostname != "host" || !m.Timestamp.Equal(clock.Add(4*time.Millisecond)) {
				t.Errorf("the header is %+v", m)
			}
			if !strings.HasPrefix(texts[0], "CEF:0|tokenhouse|tokenhouse|1.2.3|TH1002E|login.failed|8|rt=") {
				t.Errorf("the message is %q", texts[0])
			}
		})
	}
}

func TestAReplicaThatDiesBeforeItNotesWhatItSentRepeatsAndLosesNothing(t *testing.T) {
	w, r := newWorld(), newReceiver()
	l := listen(t, "127.0.0.1:0")
	r.stream(t, l)
	target := "syslog+tcp://" + l.Addr().String() + "?from=start&name=siem"
	w.add(5)
	w.broken = errKilled
	if err := w.replica(t, "a", target).Deliver(t.Context()); !errors.Is(err, errKilled) {
		t.Fatalf("got %v", err)
	}
	w.add(2)
	other := w.replica(t, "b", target)
	if err := other.Deliver(t.Context()); err != nil || len(r.texts(t, 5)) != 5 {
		t.Fatalf("another replica delivered during the lease of the dead one: %v", err)
	}
	w.now = w.now.Add(lease)
	if err := other.Deliver(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := seqs(t, r.texts(t, 7)); !slices.Equal(got, append(upTo(5), upTo(7)...)) {
		t.Errorf("got %v", got)
	}
}

func TestAReceiverThatIsDownGetsEverythingWhenItIsUp(t *testing.T) {
	w, r := newWorld(), newReceiver()
	l := listen(t, "127.0.0.1:0")
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	o := w.replica(t, "a", "syslog+tcp://"+address+"?from=start")
	var behind time.Duration
	o.Observe = func(kind string, age time.Duration) {
		if behind = age; kind != "syslog" {
			t.Errorf("the kind is %q", kind)
		}
	}
	w.add(4)
	var waits []time.Duration
	for range 7 {
		began := w.now
		for err := error(nil); err == nil; w.now = w.now.Add(time.Second) {
			if err = o.Deliver(t.Context()); err != nil {
				waits = append(waits, w.now.Sub(began))
			}
		}
	}
	second := time.Second
	if want := []time.Duration{0, 0, second, 3 * second, 7 * second, 15 * second, 29 * second}; !slices.Equal(waits, want) {
		t.Errorf("tried again after %v, want %v", waits, want)
	}
	if want := w.now.Sub(clock) - time.Second; behind < want-time.Second || behind > want {
		t.Errorf("it is said to be %s behind, want about %s", behind, want)
	}
	r.stream(t, listen(t, address))
	w.now = w.now.Add(retryMost)
	if err := o.Deliver(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := seqs(t, r.texts(t, 4)); !slices.Equal(got, upTo(4)) || behind != 0 {
		t.Errorf("got %v, %s behind", got, behind)
	}
}

// A receiver that breaks off has perhaps read nothing, although the bytes were
// taken from us: nothing of the batch counts as delivered.
func TestWhatAReceiverDidNotReadIsSentAgain(t *testing.T) {
	w, r := newWorld(), newReceiver()
	l := listen(t, "127.0.0.1:0")
	address := l.Addr().String()
	w.add(100)
	o := w.replica(t, "a", "syslog+tcp://"+address+"?from=start")
	broke := make(chan struct{})
	go func() {
		defer close(broke)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Read(make([]byte, 10))
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
		_ = l.Close()
	}()
	if err := o.Deliver(t.Context()); err == nil {
		t.Fatal("a broken connection counts as delivery")
	}
	<-broke
	r.stream(t, listen(t, address))
	w.now = w.now.Add(retryMost)
	if err := o.Deliver(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := seqs(t, r.texts(t, 100)); !slices.Equal(got, upTo(100)) {
		t.Errorf("got %v", got)
	}
}

func TestAReceiverMustProveWhoItIs(t *testing.T) {
	pair, ca := tlstest.Vouched(t, "siem.example")
	w, r := newWorld(), newReceiver()
	l := listen(t, "127.0.0.1:0")
	r.stream(t, tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}))
	w.add(1)
	for _, query := range []string{"?from=start&server_name=siem.example", "?from=start&server_name=other.example&ca=" + ca, "?from=start&ca=" + ca} {
		var unknown *tls.CertificateVerificationError
		if err := w.replica(t, "a", "syslog+tls://"+l.Addr().String()+query).Deliver(t.Context()); !errors.As(err, &unknown) {
			t.Errorf("%s: %v", query, err)
		}
	}
	if len(r.messages) > 0 {
		t.Error("a stranger was sent events")
	}
}

func TestAFileGetsLinesAndMayBeMovedAway(t *testing.T) {
	w := newWorld()
	path := filepath.Join(t.TempDir(), "audit.ndjson")
	o := w.replica(t, "a", "file://"+path+"?from=start")
	lines := func(path string) (out []int64) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			var l audit.Line
			if err := json.Unmarshal(line, &l); err != nil {
				t.Fatal(err)
			}
			out = append(out, l.Seq)
		}
		return out
	}
	deliver := func(n int) {
		w.add(n)
		if err := o.Deliver(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	deliver(2)
	deliver(1)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	deliver(1)
	if old, now := lines(path+".1"), lines(path); !slices.Equal(old, []int64{1, 2, 3}) || !slices.Equal(now, []int64{4}) {
		t.Errorf("the files have %v and %v", old, now)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 { // SEC-OBS-13
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}

func TestStandardOutputHasTheChosenFormat(t *testing.T) {
	for format, want := range map[string]string{"json": `"event":"login.failed"`, "ocsf": `"class_uid":3002`, "cef": "CEF:0|"} {
		w := newWorld()
		w.add(1)
		var out bytes.Buffer
		o := w.replica(t, "a", "stdout:?from=start&format="+format)
		o.Process.Stdout = &out
		if err := o.Deliver(t.Context()); err != nil || !strings.Contains(out.String(), want) || strings.Count(out.String(), "\n") != 1 {
			t.Errorf("%s: %q, %v", format, out.String(), err)
		}
	}
}

func TestTargets(t *testing.T) {
	for text, want := range map[string]Target{
		"stdout:":                                   {Name: "stdout:", Kind: "stdout", Format: JSON},
		"file:///a/b?format=ocsf":                   {Name: "file:/a/b", Kind: "file", Format: OCSF, address: "/a/b"},
		"syslog+udp://siem.example":                 {Name: "syslog+udp:siem.example:514", Kind: "syslog", Format: CEF, network: "udp", address: "siem.example:514"},
		"syslog+tcp://[::1]:99?name=x&from=start":   {Name: "x", Kind: "syslog", Format: CEF, Start: true, network: "tcp", address: "[::1]:99"},
		"syslog+tls://siem.example?cert=/c&key=/k":  {Name: "syslog+tls:siem.example:6514", Kind: "syslog", Format: CEF, network: "tls", address: "siem.example:6514", tls: tlsFiles{cert: "/c", key: "/k"}},
		"syslog+tcp://siem.example:601?confirm=off": {Name: "syslog+tcp:siem.example:601", Kind: "syslog", Format: CEF, network: "tcp", address: "siem.example:601", blind: true},
	} {
		if got, err := ParseTarget(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "siem:514", "http://x", "file:a", "file://host", "syslog+tcp://", "syslog+tcp://:514", "syslog+tcp://x/y", "syslog+tcp://u:p@x", "stdout:?format=xml",
		"stdout:?colour=red", "stdout:?from=yesterday", "syslog+tcp://x?ca=/c", "syslog+tls://x?cert=/c", "stdout:?confirm=off", "syslog+udp://x?confirm=off",
	} {
		if got, err := ParseTarget(text); err == nil {
			t.Errorf("%q is %+v", text, got)
		}
	}
}
