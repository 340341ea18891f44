package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenhouse/tokenhouse/audit"
)

// history is an export with several chains, checkpoints in between and at its end.
func history(t testing.TB, w *world) []byte {
	t.Helper()
	for i, org := range w.orgs {
		w.record(t, org, audit.LoginFailed, 3+i)
	}
	w.seal(t)
	w.now = w.now.Add(2 * audit.CheckpointAge)
	for _, org := range w.orgs {
		w.record(t, org, audit.APIKeyUsed, 2)
		w.record(t, org, audit.UserCreated, 1)
	}
	return w.export(t, audit.Extent{})
}

func TestWhatWasExportedHolds(t *testing.T) {
	w := newWorld(t)
	whole := history(t, w)
	r, err := w.verify(whole)
	if err != nil || r.Events != 21 || r.Shards != 3 || r.Checkpoints != 6 || r.Unknown != 0 || r.Pruned != 0 || r.Through != 21 || !r.Closed.Equal(w.now.Truncate(time.Second)) {
		t.Errorf("the whole log: %+v, %v", r, err)
	}
	// One organisation proves its own without the others'.
	own := w.export(t, audit.Extent{Org: &w.orgs[1]})
	if r, err := w.verify(own); err != nil || r.Events != 7 || r.Shards != 1 || *r.Org != w.orgs[1] {
		t.Errorf("one organisation: %+v, %v", r, err)
	}
	if bytes.Contains(own, []byte(w.orgs[2])) {
		t.Error("the export of one organisation tells of another")
	}
	// Gone on with, the parts hold together, and the second alone as what it is.
	w.record(t, w.orgs[2], audit.LoginFailed, 4)
	more := w.export(t, audit.Extent{After: r.Through})
	if r, err := w.verify(slices.Concat(whole, more)); err != nil || r.Events != 25 || r.After != 0 || r.Through != 25 {
		t.Errorf("in two parts: %+v, %v", r, err)
	}
	if r, err := w.verify(more); err != nil || r.Events != 4 || r.After != 21 {
		t.Errorf("the second part: %+v, %v", r, err)
	}
	wrong(t, w, "two parts without what is between", slices.Concat(whole, w.export(t, audit.Extent{After: 23})), 29, "goes on at position")
	wrong(t, w, "an organisation and the whole", slices.Concat(own, more), 0, "")
}

// wrong expects that the export is refused at the line (0: at any) for the reason.
func wrong(t *testing.T, w *world, what string, export []byte, line int64, reason string) {
	t.Helper()
	_, err := w.verify(export)
	var l *audit.LineError
	if !errors.As(err, &l) || line != 0 && l.Line != line || !strings.Contains(l.Reason, reason) {
		t.Errorf("%s: %v; want line %d: %s", what, err, line, reason)
	}
}

func TestWhatIsWrongIsNamedWithItsLine(t *testing.T) {
	w := newWorld(t)
	whole := lines(history(t, w))
	at := func(part string, n int) int { // the index of the n-th line that has it
		for i, l := range whole {
			if bytes.Contains(l, []byte(part)) {
				if n--; n == 0 {
					return i
				}
			}
		}
		t.Fatalf("%q is in no line", part)
		return 0
	}
	event := at(`"event":"login.failed"`, 5) // the second of the second chain
	with := func(i int, lines ...[]byte) []byte {
		return bytes.Join(slices.Replace(slices.Clone(whole), i, i+1, lines...), nil)
	}
	changed := func(old, by string) []byte {
		return bytes.Replace(whole[event], []byte(old), []byte(by), 1)
	}
	line := int64(event) + 1
	for what, forged := range map[string][]byte{
		"outcome": changed(`"failure"`, `"success"`), "time": changed("2026-01-02T03:04:10", "2026-01-02T03:04:09"), "ip": changed("db8::1", "db8::2"),
		"meta": changed(`"k":"v"`, `"k":"w"`), "a member more": changed(`"reason"`, `"x":"y","reason"`), "class": changed(`"security"`, `"routine"`),
		"seq": changed(`"seq":`, `"seq":1`), "organisation of the actor": changed(`"via":"password"`, `"via":"password","org_id":"org_1"`),
	} {
		if bytes.Equal(forged, whole[event]) {
			t.Fatalf("%s: nothing was changed", what)
		}
		wrong(t, w, what, with(event, forged), line, "its hash is not that of what it says")
	}
	wrong(t, w, "removed", with(event), line, "position 2 is missing")
	wrong(t, w, "twice", with(event, whole[event], whole[event]), line+1, "in the wrong place")
	wrong(t, w, "swapped in a chain", with(event, whole[event+1], whole[event]), line, "position 2 is missing")
	swapped := slices.Clone(whole)
	other := at(`"event":"login.failed"`, 3) // the end of the first chain, before it its checkpoint
	swapped[other-1], swapped[other+2] = swapped[other+2], swapped[other-1]
	wrong(t, w, "swapped between chains", bytes.Join(swapped, nil), 0, "")
	wrong(t, w, "truncated", bytes.Join(whole[:len(whole)-1], nil), int64(len(whole)-1), "cut off")
	wrong(t, w, "truncated before its closing line", with(len(whole)-2), int64(len(whole)-1), "")
	wrong(t, w, "nothing", nil, 1, "empty")
	wrong(t, w, "a member twice", with(event, changed(`"reason"`, `"reason":"","reason"`)), line, "twice")
	wrong(t, w, "no JSON", with(event, []byte("x\n")), line, "not JSON")
	wrong(t, w, "the plain line", with(event, changed(`"position"`, `"no"`)), line, "no position")

	check := at(`{"checkpoint"`, 2)
	wrong(t, w, "checkpoint removed", with(check), 0, "")
	wrong(t, w, "checkpoint in another place", with(check, whole[check], whole[check]), int64(check)+2, "twice")
	wrong(t, w, "checkpoint of another chain", with(check, whole[at(`{"checkpoint"`, 1)]), int64(check)+1, "twice")
	wrong(t, w, "checkpoint of later", with(check, whole[at(`{"checkpoint"`, 5)]), int64(check)+1, "in another place")
	wrong(t, w, "closing line of another type", with(len(whole)-1, bytes.Replace(whole[check], []byte("checkpoint"), []byte("closing"), 1)), int64(len(whole)), "is signed as")
	signature := bytes.LastIndexByte(whole[check], '.') + 3
	forged := slices.Clone(whole[check])
	forged[signature] = map[bool]byte{true: 'B', false: 'A'}[forged[signature] == 'A']
	wrong(t, w, "checkpoint forged", with(check, forged), int64(check)+1, "forged")
}

// A history that is changed and chained anew in the database is not the one
// that was signed, and without the key nothing else can be signed.
func TestAHistoryWrittenAnewIsFound(t *testing.T) {
	w := newWorld(t)
	w.record(t, w.orgs[1], audit.LoginFailed, 5)
	honest := w.export(t, audit.Extent{})
	stranger := newPenman(t, "key-1") // says it is the same key
	w.sealer.Signer = stranger
	forged := w.export(t, audit.Extent{})
	if _, err := w.verify(forged); err == nil || !strings.Contains(err.Error(), "forged") {
		t.Errorf("closed by a stranger: %v", err)
	}
	w.sealer.Signer = newPenman(t, "key-2")
	if _, err := w.verify(w.export(t, audit.Extent{})); err == nil || !strings.Contains(err.Error(), "not among the known") {
		t.Errorf("closed by an unknown key: %v", err)
	}
	other := newWorld(t) // has other events of the same organisation, chained as they should be
	other.orgs, other.pen, other.sealer.Signer = w.orgs, w.pen, w.pen
	other.record(t, w.orgs[1], audit.LoginFailed, 5)
	mixed := lines(other.export(t, audit.Extent{}))
	mixed[5] = lines(honest)[5]
	wrong(t, w, "the checkpoint of the true history", bytes.Join(mixed, nil), 6, "another history")
}

func TestCheckpointsOfKeysLongGoneAreReported(t *testing.T) {
	w := newWorld(t)
	w.record(t, w.orgs[1], audit.LoginFailed, 5)
	w.seal(t)
	w.pen = newPenman(t, "key-2")
	w.sealer.Signer = w.pen
	w.now = w.now.Add(time.Hour)
	w.record(t, w.orgs[1], audit.LoginFailed, 5)
	if r, err := w.verify(w.export(t, audit.Extent{})); err != nil || r.Unknown != 1 || r.Checkpoints != 1 {
		t.Errorf("got %+v, %v", r, err)
	}
}

// A checkpoint stands after each thousandth event at the latest: whoever removes
// them all is found.
func TestCheckpointsCannotBeLeftOut(t *testing.T) {
	w := newWorld(t)
	w.record(t, w.orgs[1], audit.LoginFailed, 2*audit.CheckpointEvery+1)
	whole := lines(w.export(t, audit.Extent{}))
	if r, err := w.verify(bytes.Join(whole, nil)); err != nil || r.Checkpoints != 3 {
		t.Fatalf("got %+v, %v", r, err)
	}
	bare := slices.DeleteFunc(whole, func(l []byte) bool { return bytes.HasPrefix(l, []byte(`{"checkpoint"`)) })
	wrong(t, w, "without checkpoints", bytes.Join(bare, nil), audit.CheckpointEvery+1, "no checkpoint at position 1000")
}

// Whatever is done to an export, it is found.
func TestAnyTamperingIsFound(t *testing.T) {
	w := newWorld(t)
	whole := lines(history(t, w))
	rapid.Check(t, func(r *rapid.T) {
		forged := slices.Clone(whole)
		i := rapid.IntRange(0, len(whole)-1).Draw(r, "line")
		switch rapid.SampledFrom([]string{"remove", "swap", "double", "cut", "edit", "splice"}).Draw(r, "how") {
		case "remove":
			forged = slices.Delete(forged, i, i+1)
		case "swap":
			j := rapid.IntRange(0, len(whole)-1).Draw(r, "with")
			forged[i], forged[j] = forged[j], forged[i]
		case "double":
			forged = slices.Insert(forged, rapid.IntRange(0, len(whole)).Draw(r, "to"), whole[i])
		case "cut":
			forged = forged[:i]
		case "edit":
			at := rapid.IntRange(0, len(whole[i])-1).Draw(r, "at")
			line := slices.Clone(whole[i])
			line[at] = rapid.Byte().Draw(r, "byte")
			forged[i] = line
		case "splice":
			j := rapid.IntRange(i, len(whole)-1).Draw(r, "until")
			forged = slices.Delete(forged, i, j+1)
		}
		if same(forged, whole) {
			return
		}
		if report, err := w.verify(bytes.Join(forged, nil)); err == nil {
			r.Fatalf("it holds: %+v\n%s", report, bytes.Join(forged, nil))
		}
	})
}

// same reports whether the lines say the same: JSON has several ways to write it.
func same(a, b [][]byte) bool {
	meaning := func(lines [][]byte) (out []string) {
		for _, l := range bytes.Split(bytes.TrimSuffix(bytes.Join(lines, nil), []byte("\n")), []byte("\n")) {
			var v any
			if json.Unmarshal(l, &v) != nil {
				return append(out, "broken")
			}
			text, _ := json.Marshal(v)
			out = append(out, string(text))
		}
		return out
	}
	return slices.Equal(meaning(a), meaning(b))
}

// FuzzVerify: no text makes the verifier panic, and none holds without a
// signature of the key.
func FuzzVerify(f *testing.F) {
	w := newWorld(f)
	export := history(f, w)
	f.Add([]byte(`{"position":1}` + "\n"))
	f.Add([]byte(`{"pruned":{}}` + "\n" + `{"closing":"a.b.c","through":1}`))
	f.Add([]byte(`{"a":["\ud83d\ude00",{"b":null}],"c":9007199254740991}`))
	f.Add(export)
	stranger := newPenman(f, "key-1")
	f.Fuzz(func(t *testing.T, text []byte) {
		v := audit.Verifier{Keys: stranger.jwks()}
		if r, err := v.Verify(bytes.NewReader(text)); err == nil {
			t.Fatalf("it holds: %+v", r)
		}
	})
}
