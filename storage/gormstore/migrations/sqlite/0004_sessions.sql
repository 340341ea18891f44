-- +goose Up
-- One row per login on one device: the session and its whole family of refresh
-- tokens. No token is stored, nor anything one could be made from. A refresh
-- changes columns that no index holds.
CREATE TABLE sessions (
	id              TEXT    PRIMARY KEY,
	user_id         TEXT    NOT NULL,
	org_id          TEXT    NOT NULL,
	client_id       TEXT    NOT NULL,
	method          TEXT    NOT NULL,
	created_at      INTEGER NOT NULL,
	expires_at      INTEGER NOT NULL,
	refreshable     INTEGER NOT NULL,
	version         INTEGER NOT NULL,
	generation      INTEGER NOT NULL,
	last_used       INTEGER NOT NULL,
	previous_at     INTEGER NOT NULL,
	retry_key       BLOB    NOT NULL,
	contested_from  INTEGER NOT NULL,
	contested_to    INTEGER NOT NULL,
	contested_at    INTEGER NOT NULL,
	contested_agent BLOB    NOT NULL,
	network         TEXT    NOT NULL,
	agent           BLOB    NOT NULL,
	proof           BLOB    NOT NULL,
	proven          INTEGER NOT NULL,
	seen_at         INTEGER NOT NULL,
	ip              TEXT    NOT NULL,
	user_agent      TEXT    NOT NULL,
	revoked_at      INTEGER NOT NULL,
	revoked_reason  TEXT    NOT NULL
);
CREATE INDEX sessions_org ON sessions (org_id, id);
CREATE INDEX sessions_user ON sessions (user_id, org_id, id);
CREATE INDEX sessions_expires ON sessions (expires_at);

-- What speaks against one access token, asked while the feed is silent.
CREATE INDEX changes_key ON changes (key, kind);
