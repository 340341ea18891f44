package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// A tail that follows prints what others record, each event once and in order,
// and ends without a complaint when it is interrupted.
func TestAFollowingTailPrintsWhatComes(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Still: true})
	ctx, interrupt := context.WithTimeout(t.Context(), time.Minute)
	defer interrupt()
	printed, out := io.Pipe()
	var said bytes.Buffer
	p := process{
		Args:  []string{"audit", "tail", "--follow", "--lines", "2", "--org", "default", "--output", "json"},
		Stdin: strings.NewReader(""), Stdout: out, Stderr: &said, Now: h.Clock.Now,
		Environ: []string{
			"TOKENHOUSE_ISSUER=" + h.Config.Issuer, "TOKENHOUSE_DATABASE_URL=" + h.Config.Database.URL,
			"TOKENHOUSE_DATA_DIR=" + h.Config.DataDir, "TOKENHOUSE_MASTER_KEY=" + h.Config.Sealing.MasterKey.Reveal(),
		},
	}
	ended := make(chan int, 1)
	go func() {
		ended <- p.run(ctx)
		_ = out.Close() // the reader ends
	}()
	lines := bufio.NewScanner(printed)
	next := func() (l audit.Line) {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("it ended: %v, %s", lines.Err(), &said)
		}
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		return l
	}
	newest := []audit.Line{next(), next()}
	if newest[0].Seq >= newest[1].Seq {
		t.Errorf("it begins with %+v", newest)
	}
	for n := range 3 {
		err := h.House().DB.Recorder().RecordAll(t.Context(), audit.Event{Time: h.Clock.Now(), Name: audit.LoginFailed, Org: h.Admin.Org, Reason: fmt.Sprint(n)})
		if err != nil {
			t.Fatal(err)
		}
	}
	for n := range 3 {
		if l := next(); l.Reason != fmt.Sprint(n) {
			t.Errorf("event %d is %+v", n, l)
		}
	}
	interrupt()
	if code := <-ended; code != 0 || said.Len() > 0 {
		t.Errorf("it ended with %d: %s", code, &said)
	}
}
