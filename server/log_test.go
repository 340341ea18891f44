package server

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"testing"
)

// Whoever logs something about a request names its id, knowingly or not, and
// once; in a group it stands where slog puts what is added to it.
func TestLinesNameTheirRequest(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(LogHandler(slog.NewJSONHandler(&out, nil)))
	request := context.WithValue(t.Context(), inboundKey{}, &inbound{id: "req_1"})
	for name, c := range map[string]struct {
		say  func()
		want any
	}{
		"by context":    {func() { log.InfoContext(request, "m", "a", 1) }, "req_1"},
		"by itself":     {func() { log.InfoContext(request, "m", "request_id", "req_1") }, "req_1"},
		"with more":     {func() { log.With("b", 2).InfoContext(request, "m") }, "req_1"},
		"in no request": {func() { log.InfoContext(t.Context(), "m") }, nil},
		"no context":    {func() { log.Info("m") }, nil},
	} {
		out.Reset()
		c.say()
		var line map[string]any
		if err := json.Unmarshal(out.Bytes(), &line); err != nil || line["request_id"] != c.want || bytes.Count(out.Bytes(), []byte("request_id")) > 1 {
			t.Errorf("%s: %s %v", name, &out, err)
		}
		if line["trace_id"] != nil {
			t.Errorf("%s: a request that is not traced has a trace: %s", name, &out)
		}
	}
	out.Reset()
	log.WithGroup("g").InfoContext(request, "m")
	var line struct {
		Group struct {
			ID string `json:"request_id"`
		} `json:"g"`
	}
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.Group.ID != "req_1" {
		t.Errorf("%s %v", &out, err)
	}
}
