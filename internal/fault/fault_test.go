package fault

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestOfNeverLosesTheFault(t *testing.T) {
	f := New(AccountLocked, "Too many attempts.").After(time.Minute).Because("pair")
	if got := Of(fmt.Errorf("login: %w", f)); got != f || got.RetryAfter != time.Minute || got.Reason != "pair" {
		t.Errorf("Of(wrapped) = %+v", got)
	}
	if got := Of(fmt.Errorf("read: %w", NotFound)); got.Code != NotFound {
		t.Errorf("Of(code) = %+v", got)
	}
	cause := errors.New("disk on fire")
	if got := Of(cause); got.Code != Internal || got.Detail != "" || !errors.Is(got, cause) {
		t.Errorf("an unknown error is %+v", got)
	}
}

func TestIsComparesCodes(t *testing.T) {
	err := fmt.Errorf("x: %w", Wrap(errors.New("cause"), Conflict, "It is taken."))
	if !errors.Is(err, Conflict) || errors.Is(err, NotFound) {
		t.Error("errors.Is does not see the code")
	}
}

func TestRefusals(t *testing.T) {
	if Refusals(nil) != nil {
		t.Error("no refused field is a failure")
	}
	f := Refusals([]Field{{"name", "must not be empty"}, {"email", "is not an address"}})
	if f.Code != Invalid || len(f.Fields) != 2 || f.Detail != "name: must not be empty" {
		t.Errorf("refusals = %+v", f)
	}
	if l := Lacking("procedures:execute"); l.Code != InsufficientPermissions || l.Required[0] != "procedures:execute" {
		t.Errorf("lacking = %+v", l)
	}
}
