-- +goose Up
-- The assertions with which clients authenticated, so that each counts once on
-- all replicas. Nothing else is kept here: no other single-use thing can be
-- mistaken for one. jti is a SHA-256; times are microseconds.
CREATE TABLE client_assertions (
	client_id  TEXT    NOT NULL,
	jti        BLOB    NOT NULL,
	expires_at INTEGER NOT NULL,
	PRIMARY KEY (client_id, jti)
) WITHOUT ROWID;
CREATE INDEX client_assertions_expires_at ON client_assertions (expires_at);
