-- +goose Up
-- The audit log. Rows are only ever added; pruning is by age.
CREATE TABLE audit_events (
	seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	id         text    NOT NULL UNIQUE,
	at         bigint NOT NULL,
	name       text    NOT NULL,
	outcome    text    NOT NULL,
	reason     text    NOT NULL,
	org_id     text    NOT NULL,
	user_id    text    NOT NULL,
	actor_type text    NOT NULL,
	actor_id   text    NOT NULL,
	actor_name text    NOT NULL,
	actor_org  text    NOT NULL,
	actor_via  text    NOT NULL,
	targets    text    NOT NULL,
	meta       text    NOT NULL,
	ip         text    NOT NULL,
	user_agent text    NOT NULL,
	request_id text    NOT NULL,
	session_id text    NOT NULL,
	key_id     text    NOT NULL
);
CREATE INDEX audit_events_org ON audit_events (org_id, seq);
CREATE INDEX audit_events_user ON audit_events (org_id, user_id, seq) WHERE user_id <> '';
CREATE INDEX audit_events_key ON audit_events (org_id, key_id, seq) WHERE key_id <> '';

-- What replicas must forget or refuse. A row lives until "until", a purge for
-- as long as a follower may be silent.
CREATE TABLE changes (
	seq   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	kind  text    NOT NULL,
	key   text    NOT NULL,
	at    bigint NOT NULL,
	until bigint NOT NULL,
	txid  xid8   NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX changes_until ON changes (until);
CREATE INDEX changes_txid ON changes (txid);
