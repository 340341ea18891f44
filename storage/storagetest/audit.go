package storagetest

import (
	"crypto/rand"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

func auditLog(t *testing.T, f *fixture) {
	a, b := ident.NewOrgID(f.now, rand.Reader), ident.NewOrgID(f.now, rand.Reader)
	request := ident.NewRequestID(f.now, rand.Reader)
	whole := audit.Event{
		Time: f.now, Name: audit.LoginFailed, Outcome: audit.Failure, Reason: "wrong_password",
		Actor:   audit.Actor{Type: "anonymous", Name: "o'neil@example.com", Via: "password"},
		Targets: []audit.Target{{Type: "user", ID: "user_1", Name: "x"}},
		Origin:  ident.Origin{IP: netip.MustParseAddr("2001:db8::1"), UserAgent: "curl/8", Request: request},
		Session: "sess_1", Key: "key_1", Org: a, Meta: map[string]string{"k": "v"},
	}
	if err := f.Recorder().RecordAll(t.Context(), whole, audit.Event{Time: f.now.Add(time.Second), Name: audit.APIKeyUsed, Org: b}); err != nil {
		t.Fatal(err)
	}
	got, err := f.Audit().Events(t.Context(), tenant(a), audit.Filter{}, 0, 10)
	if err != nil || len(got) != 1 {
		t.Fatalf("events of a = %v, %v; want the one of a", got, err)
	}
	whole.Seq, whole.ID = got[0].Seq, got[0].ID
	if whole.Seq == 0 || whole.ID == "" || !reflect.DeepEqual(got[0], whole) {
		t.Errorf("event changed in storage:\n got %+v\nwant %+v", got[0], whole)
	}
	for name, filter := range map[string]audit.Filter{
		"name": {Name: audit.APIKeyUsed}, "outcome": {Outcome: audit.Denied}, "user": {User: "user_2"}, "key": {Key: "key_2"},
		"session": {Session: "sess_2"}, "request": {Request: ident.NewRequestID(f.now, rand.Reader)}, "what is no request": {Request: "req_1"},
		"names": {Names: []audit.Name{audit.APIKeyUsed, audit.LoginLocked}}, "reason": {Reason: "expired"}, "actor": {Actor: "user_1"},
		"target": {Target: "user\\_1"}, "part of a target": {Target: "user"}, "a pattern": {Target: "%"}, "address": {IP: netip.MustParseAddr("2001:db8::2")},
		"since": {Since: f.now.Add(time.Microsecond)}, "until": {Until: f.now},
	} {
		if got, err := f.Audit().Events(t.Context(), tenant(a), filter, 0, 10); err != nil || len(got) != 0 {
			t.Errorf("filter %s does not narrow: %v, %v", name, got, err)
		}
	}
	match := audit.Filter{Name: audit.LoginFailed, Outcome: audit.Failure, User: "user_1", Key: "key_1", Session: "sess_1", Request: request, Target: "user_1",
		Names: []audit.Name{audit.LoginFailed, audit.APIKeyUsed}, Reason: "wrong_password", IP: netip.MustParseAddr("2001:db8::1"), Since: f.now, Until: f.now.Add(time.Microsecond)}
	if got, err := f.Audit().Events(t.Context(), tenant(a), match, 0, 10); err != nil || len(got) != 1 {
		t.Errorf("a filter that matches finds %v, %v", got, err)
	}
	if got, err := f.Audit().Events(t.Context(), tenant(a), audit.Filter{}, whole.Seq, 10); err != nil || len(got) != 0 {
		t.Errorf("before its own seq: %v, %v; want none", got, err)
	}
	for r, want := range map[ident.RequestID]int{request: 1, ident.NewRequestID(f.now, rand.Reader): 0, "req_1": 0} {
		if got, err := f.Audit().Requested(t.Context(), r); err != nil || len(got) != want {
			t.Errorf("of the request %s: %v, %v", r, got, err)
		}
	}
	all, err := f.Audit().Export(t.Context(), 0, 10)
	if err != nil || len(all) != 2 || all[0].Seq >= all[1].Seq {
		t.Errorf("export = %v, %v; want both, oldest first", all, err)
	}
	if none, err := f.Audit().Events(t.Context(), ident.Tenant{}, audit.Filter{}, 0, 10); err != nil || len(none) != 0 {
		t.Errorf("the zero tenant sees %v, %v", none, err)
	}
	if len(f.committed()) != 2 {
		t.Errorf("observed %v, want both events", f.committed())
	}
}
