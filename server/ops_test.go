package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestTheOperatorsListener(t *testing.T) {
	var down error
	o := &Ops{
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "tokenhouse_build_info 1\n") }),
		Ready:   func(context.Context) error { return down },
	}
	h := o.Handler()
	expect := func(path string, status int, text string) {
		t.Helper()
		w := ask(h, http.MethodGet, path, "")
		if w.Code != status || !strings.Contains(w.Body.String(), text) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	expect("/metrics", 200, "tokenhouse_build_info")
	expect("/healthz", 200, "ok")
	expect("/readyz", 200, "ready")
	expect("/debug/pprof/", 404, "")

	down = errors.New("dial tcp 10.1.2.3:5432: password of th_owner refused")
	w := ask(h, http.MethodGet, "/readyz", "")
	if w.Code != 503 || strings.Contains(w.Body.String(), "10.1.2.3") || strings.Contains(w.Body.String(), "th_owner") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	expect("/healthz", 200, "ok") // alive all the same: a restart would not help

	down = nil
	o.Drain()
	expect("/readyz", 503, "draining")
	expect("/healthz", 200, "ok")

	profiled := (&Ops{Metrics: http.NotFoundHandler(), Ready: o.Ready, Pprof: true}).Handler()
	if w := ask(profiled, http.MethodGet, "/debug/pprof/", ""); w.Code != 200 {
		t.Errorf("pprof: %d", w.Code)
	}
}
