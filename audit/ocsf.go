package audit

import (
	"strings"
)

// ocsfVersion is the version of the Open Cybersecurity Schema Framework that
// OCSF follows.
const ocsfVersion = "1.5.0"

// OCSFEvent is an event in the Open Cybersecurity Schema Framework 1.5.0, to be
// encoded as JSON. Which members it has depends on its class.
type OCSFEvent map[string]any

// ocsfClass is a class of the framework: the thousands of its number are its
// category.
type ocsfClass struct {
	uid  int
	name string
}

var (
	ocsfAccountChange  = ocsfClass{3001, "Account Change"}
	ocsfAuthentication = ocsfClass{3002, "Authentication"}
	ocsfEntities       = ocsfClass{3004, "Entity Management"}
	ocsfGroups         = ocsfClass{3006, "Group Management"}
	ocsfAPI            = ocsfClass{6003, "API Activity"}
)

// ocsfCategories are the names of the categories we use.
var ocsfCategories = map[int]string{3: "Identity & Access Management", 6: "Application Activity"}

// ocsfOther is the activity that the framework has no number for; its name is
// then our own.
const ocsfOther = 99

// ocsfKind is what the framework calls one of our events.
type ocsfKind struct {
	class    ocsfClass
	activity int
}

// ocsfKinds are the events that the framework has a place for; ocsfKindOf finds
// one for the others.
var ocsfKinds = map[Name]ocsfKind{
	LoginSucceeded: {ocsfAuthentication, 1}, LoginFailed: {ocsfAuthentication, 1}, LoginRefused: {ocsfAuthentication, 1},
	LoginLocked: {ocsfAccountChange, 9}, LoginUnlocked: {ocsfAccountChange, 12},
	SessionRevoked: {ocsfAuthentication, 2},
	UserRegistered: {ocsfAccountChange, 1}, UserCreated: {ocsfAccountChange, 1}, UserUpdated: {ocsfAccountChange, ocsfOther},
	UserEnabled: {ocsfAccountChange, 2}, UserDisabled: {ocsfAccountChange, 5}, PasswordChanged: {ocsfAccountChange, 3},
	PasswordRehashed: {ocsfAccountChange, ocsfOther},
	MemberAdded:      {ocsfGroups, 3}, MemberRemoved: {ocsfGroups, 4}, MemberRoleSet: {ocsfGroups, ocsfOther},
	PermissionDenied: {ocsfAPI, ocsfOther}, CrossOrgDenied: {ocsfAPI, ocsfOther},
}

// ocsfSubjects are the things whose events are about authentication.
var ocsfSubjects = []string{"login.", "session.", "refresh.", "token.", "code.", "logout."}

// ocsfUses are events of things that are managed, where nothing is: they prove
// or fail to prove who somebody is.
var ocsfUses = map[Name]bool{APIKeyUsed: true, APIKeyRefused: true, ClientTokenIssued: true, ClientRefused: true}

// ocsfVerbs are the activities of Entity Management by what was done.
var ocsfVerbs = map[string]int{
	"created": 1, "granted": 1, "updated": 3, "set": 3, "role_set": 3, "rotated": 3, "secret_rotated": 3, "transferred": 3,
	"enabled": 3, "disabled": 3, "changed": 3, "deleted": 4, "removed": 4, "revoked": 4, "withdrawn": 4,
}

func ocsfKindOf(n Name) ocsfKind {
	if k, ok := ocsfKinds[n]; ok {
		return k
	}
	for _, s := range ocsfSubjects {
		if strings.HasPrefix(string(n), s) || ocsfUses[n] {
			return ocsfKind{ocsfAuthentication, ocsfOther}
		}
	}
	_, verb, _ := strings.Cut(string(n), ".")
	if activity, ok := ocsfVerbs[verb]; ok {
		return ocsfKind{ocsfEntities, activity}
	}
	return ocsfKind{ocsfEntities, ocsfOther}
}

// OCSF returns the event in the Open Cybersecurity Schema Framework, as
// tokenhouse of that version reports it.
func OCSF(e Event, version string) OCSFEvent {
	kind := ocsfKindOf(e.Name)
	out := OCSFEvent{
		"class_uid": kind.class.uid, "class_name": kind.class.name,
		"category_uid": kind.class.uid / 1000, "category_name": ocsfCategories[kind.class.uid/1000],
		"activity_id": kind.activity, "type_uid": kind.class.uid*100 + kind.activity,
		"time": e.Time.UnixMilli(), "message": string(e.Name),
		"metadata": map[string]any{
			"version": ocsfVersion, "uid": string(e.ID), "sequence": e.Seq, "event_code": e.Name.Code(), "log_name": "audit",
			"product": map[string]any{"name": vendor, "vendor_name": vendor, "version": version},
		},
		"actor": ocsfActor(e),
	}
	if kind.activity == ocsfOther {
		out["activity_name"] = string(e.Name)
	}
	out.judge(e)
	out.origin(e)
	out.subject(e, kind.class)
	out["unmapped"] = map[string]any{"meta": e.Meta, "targets": e.Targets, "key_id": string(e.Key), "org_id": string(e.Org), "via": e.Actor.Via}
	return out
}

// judge says how it ended and how bad that is.
func (o OCSFEvent) judge(e Event) {
	o["severity_id"], o["severity"] = 1, "Informational"
	switch e.Name.Severity() {
	case Warning:
		o["severity_id"], o["severity"] = 3, "Medium"
	case Alarm:
		o["severity_id"], o["severity"] = 4, "High"
	}
	o["status_id"], o["status"] = 2, "Failure"
	if e.Outcome == Success {
		o["status_id"], o["status"] = 1, "Success"
	}
	if e.Reason != "" {
		o["status_detail"] = e.Reason
	}
}

// origin says where it came from.
func (o OCSFEvent) origin(e Event) {
	from := map[string]any{"name": "unknown"}
	if e.Origin.IP.IsValid() {
		from = map[string]any{"ip": e.Origin.IP.Unmap().WithZone("").String()}
	}
	o["src_endpoint"] = from
	request := map[string]any{}
	if e.Origin.UserAgent != "" {
		request["user_agent"] = e.Origin.UserAgent
	}
	if e.Origin.Request != "" {
		request["uid"] = string(e.Origin.Request)
		o["metadata"].(map[string]any)["correlation_uid"] = string(e.Origin.Request)
	}
	if len(request) > 0 {
		o["http_request"] = request
	}
	if e.Session != "" {
		o["session"] = map[string]any{"uid": string(e.Session)}
	}
}

// subject adds what the class asks for.
func (o OCSFEvent) subject(e Event, class ocsfClass) {
	switch class {
	case ocsfAuthentication:
		o["user"] = ocsfUser(e)
		o["service"] = map[string]any{"name": vendor}
	case ocsfAccountChange:
		o["user"] = ocsfUser(e)
	case ocsfGroups:
		o["user"] = ocsfUser(e)
		o["group"] = map[string]any{"uid": string(e.Org), "type": "organization"}
	case ocsfEntities:
		o["entity"] = ocsfEntity(e)
	case ocsfAPI:
		api := map[string]any{"operation": string(e.Name)}
		if route := e.Meta["route"]; route != "" {
			api["operation"] = route
		}
		o["api"] = api
	}
	if class == ocsfAPI && len(e.Targets) > 0 {
		resources := make([]map[string]any, len(e.Targets))
		for i, t := range e.Targets {
			resources[i] = ocsfThing(t.ID, t.Name, t.Type)
		}
		o["resources"] = resources
	}
}

// ocsfUserTypes are those of the framework that our actors are; the others are
// "other" to it, by our own name.
var ocsfUserTypes = map[string]int{"user": 1, "operator": 2, "system": 3, "client": 4, "service_account": 4, "anonymous": 0}

// ocsfActor is who did it: always a user to the framework.
func ocsfActor(e Event) map[string]any {
	user := ocsfPerson(e.Actor.ID, e.Actor.Name, e.Actor.Type)
	if e.Actor.Org != "" {
		user["org"] = map[string]any{"uid": string(e.Actor.Org)}
	}
	actor := map[string]any{"user": user}
	if e.Session != "" {
		actor["session"] = map[string]any{"uid": string(e.Session)}
	}
	return actor
}

// ocsfUser is whom it concerns: the target that is an account, else the actor.
func ocsfUser(e Event) map[string]any {
	for _, t := range e.Targets {
		if t.Type == "user" || t.Type == "service_account" {
			return ocsfPerson(t.ID, t.Name, t.Type)
		}
	}
	return ocsfPerson(e.Actor.ID, e.Actor.Name, e.Actor.Type)
}

func ocsfPerson(id, name, kind string) map[string]any {
	typ, known := ocsfUserTypes[kind]
	if !known {
		typ = ocsfOther
	}
	out := map[string]any{"type_id": typ, "type": kind}
	if id != "" {
		out["uid"] = id
	}
	if name != "" {
		out["name"] = name
	}
	if id == "" && name == "" {
		out["name"] = kind // the framework wants one of them
	}
	return out
}

// ocsfEntity is what was managed: the first target, else what the name of the
// event begins with.
func ocsfEntity(e Event) map[string]any {
	if len(e.Targets) > 0 {
		return ocsfThing(e.Targets[0].ID, e.Targets[0].Name, e.Targets[0].Type)
	}
	kind, _, _ := strings.Cut(string(e.Name), ".")
	return ocsfThing("", kind, kind)
}

func ocsfThing(id, name, kind string) map[string]any {
	out := map[string]any{"type": kind}
	if id != "" {
		out["uid"] = id
	}
	if name != "" {
		out["name"] = name
	}
	return out
}
