package audit

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// FilterFields are the names of the texts that ReadFilter takes.
func FilterFields() []string {
	return []string{"name", "outcome", "reason", "user_id", "key_id", "session_id", "request_id", "actor_id", "target_id", "ip", "since", "until"}
}

// ReadFilter reads a filter from texts by their names; empty ones do not narrow.
// What names nothing that exists is refused rather than answered with an empty
// list.
func ReadFilter(given map[string]string) (Filter, []fault.Field) {
	var refused []fault.Field
	check := func(name, detail string, ok bool) {
		if given[name] != "" && !ok {
			refused = append(refused, fault.Field{Name: name, Detail: detail})
		}
	}
	f := Filter{
		Outcome: Outcome(given["outcome"]), Reason: given["reason"], User: ident.UserID(given["user_id"]),
		Key: ident.APIKeyID(given["key_id"]), Session: ident.SessionID(given["session_id"]), Request: ident.RequestID(given["request_id"]),
		Actor: given["actor_id"], Target: given["target_id"],
	}
	names, named := eventNames(given["name"])
	f.Names = names
	check("name", "is neither the name of an event, such as login.failed, nor a group of them, such as login.*, nor some of those with commas between", named)
	check("outcome", "must be success, failure or denied", slices.Contains([]Outcome{Success, Failure, Denied}, f.Outcome))
	_, err := ident.ParseUserID(given["user_id"])
	check("user_id", "is not a user identifier", err == nil)
	_, err = ident.ParseAPIKeyID(given["key_id"])
	check("key_id", "is not an API key identifier", err == nil)
	_, err = ident.ParseSessionID(given["session_id"])
	check("session_id", "is not a session identifier", err == nil)
	_, err = ident.ParseRequestID(given["request_id"])
	check("request_id", "is not a request identifier", err == nil)
	for _, name := range []string{"reason", "actor_id", "target_id"} {
		check(name, "must be up to 128 of a-z 0-9 . _ -", plain.MatchString(given[name]))
	}
	f.IP, err = netip.ParseAddr(given["ip"])
	check("ip", "is not an IP address", err == nil)
	for _, end := range []struct {
		name string
		into *time.Time
	}{{"since", &f.Since}, {"until", &f.Until}} {
		at, err := time.Parse(time.RFC3339, given[end.name])
		check(end.name, "must be a time such as 2030-01-31T23:59:59Z", err == nil)
		if err == nil {
			*end.into = at.UTC()
		}
	}
	return f, refused
}

// plain is what reasons and identifiers are made of.
var plain = regexp.MustCompile(`^[a-z0-9._-]{1,128}$`)

// eventNames are the events that a list of names and groups such as login.*
// names. It is false where a part of it names none.
func eventNames(list string) (names []Name, ok bool) {
	for part := range strings.SplitSeq(list, ",") {
		group, isGroup := strings.CutSuffix(part, ".*")
		before := len(names)
		for _, n := range Names() {
			if string(n) == part || isGroup && strings.HasPrefix(string(n), group+".") {
				names = append(names, n)
			}
		}
		if len(names) == before {
			return nil, false
		}
	}
	return names, true
}
