-- +goose Up
-- What is remembered of failed logins. A row is named by keyed hashes: it tells
-- neither who was attacked nor from where. Times are microseconds; a row stops
-- mattering at ends_at.
CREATE TABLE login_counters (
	hash         bytea  NOT NULL PRIMARY KEY,
	kind         text   NOT NULL,
	identifier   bytea  NOT NULL,
	since        bigint NOT NULL,
	failures     bigint NOT NULL,
	failed       bytea  NOT NULL,
	leases       bytea  NOT NULL,
	locked_until bigint NOT NULL,
	level        bigint NOT NULL,
	ends_at      bigint NOT NULL
);
CREATE INDEX login_counters_identifier ON login_counters (identifier);
CREATE INDEX login_counters_ends_at ON login_counters (ends_at);
CREATE INDEX login_counters_locked ON login_counters (locked_until) WHERE locked_until > 0;
