-- +goose Up
-- What is remembered of failed logins. A row is named by keyed hashes: it tells
-- neither who was attacked nor from where. Times are microseconds; a row stops
-- mattering at ends_at.
CREATE TABLE login_counters (
	hash         BLOB    NOT NULL PRIMARY KEY,
	kind         TEXT    NOT NULL,
	identifier   BLOB    NOT NULL,
	since        INTEGER NOT NULL,
	failures     INTEGER NOT NULL,
	failed       BLOB    NOT NULL,
	leases       BLOB    NOT NULL,
	locked_until INTEGER NOT NULL,
	level        INTEGER NOT NULL,
	ends_at      INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX login_counters_identifier ON login_counters (identifier);
CREATE INDEX login_counters_ends_at ON login_counters (ends_at);
CREATE INDEX login_counters_locked ON login_counters (locked_until) WHERE locked_until > 0;
