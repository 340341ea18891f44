package audit

import (
	"fmt"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// Answer is how a request was refused, as the replica remembers that did it.
type Answer struct {
	Status int    `json:"status"`
	Code   string `json:"code"`   // as the caller was shown it
	Reason string `json:"reason"` // refines the code; may be empty
	Cause  string `json:"cause"`  // what the caller was not told; may be empty
	Route  string `json:"route"`  // the template, "/api/v1/api-keys/:id"
	IP     string `json:"ip"`
}

// Explanation is all that is known of why a request ended as it did. It is for
// administrators: the caller was told what is safe to tell anybody.
type Explanation struct {
	Request ident.RequestID `json:"request_id"`
	Time    string          `json:"time"` // RFC 3339, UTC, to the millisecond
	Why     []string        `json:"why"`
	Answer  *Answer         `json:"answer"` // null where the replica that answered is another, or has forgotten
	Events  []Line          `json:"events"` // of the request, in the order of the log
}

// Explain tells why the request ended as it did, from the events it left in the
// log and from the answer, which may be nil.
func Explain(r ident.RequestID, events []Event, a *Answer) Explanation {
	x := Explanation{Request: r, Answer: a, Why: []string{}, Events: make([]Line, len(events))}
	if at, ok := r.Time(); ok {
		x.Time = at.Format(time.RFC3339Nano)
	}
	for i, e := range events {
		x.Events[i] = LineOf(e)
		if e.Outcome != Success {
			x.Why = append(x.Why, whyOf(e))
		}
	}
	if len(x.Why) == 0 && a != nil {
		x.Why = append(x.Why, a.why())
	}
	if len(x.Why) == 0 && len(events) > 0 {
		x.Why = append(x.Why, "Nothing was refused: what the request did is in events.")
	}
	return x
}

// whys say in words what a reason of a refusal means, and what helps.
var whys = map[Name]map[string]string{
	LoginFailed: {
		"wrong_password": "The password was wrong.",
		"unknown_user":   "Nobody has that e-mail address. The caller was not told, and the answer took as long as with one.",
		"no_password":    "The person has no password: they sign in some other way.",
		"disabled":       "The password was right, and the person is disabled. An administrator can enable them.",
	},
	LoginRefused: {
		"locked": "There were too many failed attempts, so that the password was not looked at. It ends by itself; an administrator can unlock the person, and where an account is full of failures a proof opens it.",
	},
	RefreshRefused: {
		"expired":      "The session was over: the longest life of a login had passed.",
		"idle":         "The refresh token had not been used for too long.",
		"stale":        "The refresh token had been replaced, and its time of grace was over.",
		"revoked":      "The session had been ended.",
		"wrong_client": "The refresh token belongs to another client.",
	},
	RefreshReused: {
		"reuse_detected": "A refresh token that had been replaced was used by somebody else: one of the two is a thief. The session was ended.",
	},
	APIKeyRefused: {
		"malformed":      "It was no API key of ours: its shape or its checksum is wrong. A part of it may be missing.",
		"unknown":        "No key has that identifier: it was made by another deployment, or guessed.",
		"mismatch":       "A key has that identifier, and another secret.",
		"superseded":     "The key was rotated, and the time of grace of the old secret is over. Whoever uses it needs the new one.",
		"revoked":        "The key was revoked.",
		"quarantined":    "The key was reported as leaked and waits for its owner.",
		"expired":        "The key has expired.",
		"owner_inactive": "The owner of the key is disabled, or no member of the organisation any more.",
		"network":        "The key may be used from other networks only.",
		"throttled":      "Too many wrong keys came from that network.",
	},
	AccessTokenRefused: {
		"expired":     "The access token had expired.",
		"revoked":     "The access token had been revoked: its session, its key or its owner had ended.",
		"missing_org": "The access token names no organisation.",
		"invalid":     "The access token was malformed, not signed by a key of this deployment, or meant for another audience.",
	},
}

// whyOf says in words why the event was no success.
func whyOf(e Event) string {
	if text, ok := whys[e.Name][e.Reason]; ok {
		return text
	}
	switch e.Name {
	case PermissionDenied:
		return fmt.Sprintf("The credential is good and lacks the permission: %s.", orUnknown(e.Meta["required"]))
	case CrossOrgDenied:
		return "What was asked for belongs to another organisation. The caller was told that it does not exist."
	case LoginRefused:
		return fmt.Sprintf("The attempt was refused before the password was looked at (%s, counted by %s).", orUnknown(e.Reason), orUnknown(e.Meta["scope"]))
	case LoginLocked:
		return fmt.Sprintf("With it the limit of failed attempts was reached (counted by %s); it ends at %s.", orUnknown(e.Reason), orUnknown(e.Meta["until"]))
	default:
		return fmt.Sprintf("%s: %s (%s).", e.Name, e.Outcome, orUnknown(e.Reason))
	}
}

// answerWhys say what codes mean that leave no event of their own.
var answerWhys = map[string]string{
	"CROSS_ORIGIN":       "A page of another site asked with the cookies of the browser. A site that may is listed in cors_origins.",
	"INSECURE_TRANSPORT": "The request did not come by https, or the proxy that ended it is not among trusted_proxies.",
	"RATE_LIMITED":       "A limit was used up.",
	"INVALID_API_KEY":    "No key of this deployment is what was presented; refusals of known keys are events of their own within some seconds.",
}

func (a *Answer) why() string {
	if text, ok := answerWhys[a.Code]; ok {
		return text
	}
	text, known := whys[AccessTokenRefused][a.Reason]
	switch {
	case a.Code == "INVALID_TOKEN" && a.Reason == "" && a.Cause == "":
		text = "No credential was presented, or none that can be read."
	case a.Code != "INVALID_TOKEN" || !known:
		text = fmt.Sprintf("%s (%s).", a.Code, orUnknown(a.Reason))
	}
	if a.Cause != "" {
		text += " " + a.Cause
	}
	return text
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
