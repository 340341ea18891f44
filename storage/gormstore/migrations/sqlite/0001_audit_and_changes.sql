-- +goose Up
-- The audit log. Rows are only ever added; pruning is by age.
CREATE TABLE audit_events (
	seq        INTEGER PRIMARY KEY AUTOINCREMENT,
	id         TEXT    NOT NULL UNIQUE,
	at         INTEGER NOT NULL,
	name       TEXT    NOT NULL,
	outcome    TEXT    NOT NULL,
	reason     TEXT    NOT NULL,
	org_id     TEXT    NOT NULL,
	user_id    TEXT    NOT NULL,
	actor_type TEXT    NOT NULL,
	actor_id   TEXT    NOT NULL,
	actor_name TEXT    NOT NULL,
	actor_org  TEXT    NOT NULL,
	actor_via  TEXT    NOT NULL,
	targets    TEXT    NOT NULL,
	meta       TEXT    NOT NULL,
	ip         TEXT    NOT NULL,
	user_agent TEXT    NOT NULL,
	request_id TEXT    NOT NULL,
	session_id TEXT    NOT NULL,
	key_id     TEXT    NOT NULL
);
CREATE INDEX audit_events_org ON audit_events (org_id, seq);
CREATE INDEX audit_events_user ON audit_events (org_id, user_id, seq) WHERE user_id <> '';
CREATE INDEX audit_events_key ON audit_events (org_id, key_id, seq) WHERE key_id <> '';

-- What replicas must forget or refuse. A row lives until "until", a purge for
-- as long as a follower may be silent.
CREATE TABLE changes (
	seq   INTEGER PRIMARY KEY AUTOINCREMENT,
	kind  TEXT    NOT NULL,
	key   TEXT    NOT NULL,
	at    INTEGER NOT NULL,
	until INTEGER NOT NULL
);
CREATE INDEX changes_until ON changes (until);
