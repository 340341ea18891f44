-- +goose Up
-- Addresses that are sent an organisation's events. position is the place in the
-- organisation's chain up to which everything was sent, is of no interest or lies
-- among the dead letters. Whoever delivers moves leased_until into the future
-- first, so that no other replica does the same, and counts turn up.
CREATE TABLE webhooks (
	id             TEXT NOT NULL PRIMARY KEY,
	org_id         TEXT NOT NULL REFERENCES organisations (id),
	url            TEXT NOT NULL,
	description    TEXT NOT NULL,
	events         TEXT NOT NULL,
	status         TEXT NOT NULL,
	cause          TEXT NOT NULL,
	created_at     INTEGER NOT NULL,
	created_by     TEXT NOT NULL,
	position       INTEGER NOT NULL,
	attempts       INTEGER NOT NULL,
	due_at         INTEGER NOT NULL,
	failing_since  INTEGER NOT NULL,
	delivered_at   INTEGER NOT NULL,
	failed_at      INTEGER NOT NULL,
	failure        TEXT NOT NULL,
	failure_status INTEGER NOT NULL,
	version        INTEGER NOT NULL,
	turn           INTEGER NOT NULL,
	leased_until   INTEGER NOT NULL
);
CREATE INDEX webhooks_org ON webhooks (org_id, id DESC);
CREATE INDEX webhooks_due ON webhooks (due_at, id) WHERE status = 'active';

CREATE TABLE webhook_secrets (
	webhook_id  TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
	n           INTEGER NOT NULL,
	sealed      BLOB NOT NULL,
	created_at  INTEGER NOT NULL,
	valid_until INTEGER NOT NULL,
	PRIMARY KEY (webhook_id, n)
);

-- What an endpoint could not be sent in all its attempts. replay is 1 where it is
-- to be tried again.
CREATE TABLE webhook_dead_letters (
	webhook_id     TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
	position       INTEGER NOT NULL,
	event_id       TEXT NOT NULL,
	name           TEXT NOT NULL,
	attempts       INTEGER NOT NULL,
	failed_at      INTEGER NOT NULL,
	failure        TEXT NOT NULL,
	failure_status INTEGER NOT NULL,
	replay         INTEGER NOT NULL,
	PRIMARY KEY (webhook_id, position)
);
CREATE INDEX webhook_dead_letters_age ON webhook_dead_letters (failed_at);
CREATE INDEX webhook_dead_letters_replay ON webhook_dead_letters (webhook_id, position) WHERE replay = 1;
