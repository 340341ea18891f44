-- +goose Up
-- Symmetric secrets of the deployment, sealed under the master key.
CREATE TABLE sealed_secrets (
	purpose    TEXT    NOT NULL,
	id         INTEGER NOT NULL,
	sealed     BLOB    NOT NULL,
	created_at INTEGER NOT NULL,
	PRIMARY KEY (purpose, id)
);

-- The keys that sign tokens; the private half is sealed.
CREATE TABLE signing_keys (
	id           TEXT    NOT NULL PRIMARY KEY,
	algorithm    TEXT    NOT NULL,
	state        TEXT    NOT NULL,
	created_at   INTEGER NOT NULL,
	activated_at INTEGER NOT NULL,
	retired_at   INTEGER NOT NULL,
	public       TEXT    NOT NULL,
	sealed       BLOB    NOT NULL
);
-- Replicas that start together agree on one key for each algorithm.
CREATE UNIQUE INDEX signing_keys_active ON signing_keys (algorithm) WHERE state = 'active';

CREATE TABLE api_keys (
	id              TEXT    NOT NULL PRIMARY KEY,
	lookup          TEXT    NOT NULL UNIQUE,
	prefix          TEXT    NOT NULL,
	name            TEXT    NOT NULL,
	org_id          TEXT    NOT NULL,
	owner_id        TEXT    NOT NULL,
	created_by_user TEXT    NOT NULL,
	created_by_key  TEXT    NOT NULL,
	permissions     TEXT    NOT NULL,
	created_at      INTEGER NOT NULL,
	expires_at      INTEGER NOT NULL,
	revoked_at      INTEGER NOT NULL,
	revoked_by      TEXT    NOT NULL,
	generation      INTEGER NOT NULL,
	used_at         INTEGER NOT NULL,
	used_ip         TEXT    NOT NULL,
	used_agent      TEXT    NOT NULL
);
CREATE INDEX api_keys_org ON api_keys (org_id, id DESC);
CREATE INDEX api_keys_owner ON api_keys (owner_id, org_id);
CREATE INDEX api_keys_made_by ON api_keys (created_by_key) WHERE created_by_key <> '';

-- The credentials of a key: digests only, the current and at most one previous.
CREATE TABLE api_key_secrets (
	key_id      TEXT    NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
	generation  INTEGER NOT NULL,
	digest      BLOB    NOT NULL,
	pepper      INTEGER NOT NULL,
	last4       TEXT    NOT NULL,
	created_at  INTEGER NOT NULL,
	valid_until INTEGER NOT NULL,
	due_at      INTEGER NOT NULL,
	used_at     INTEGER NOT NULL,
	used_ip     TEXT    NOT NULL,
	used_agent  TEXT    NOT NULL,
	PRIMARY KEY (key_id, generation)
);
CREATE INDEX api_key_secrets_age ON api_key_secrets (created_at);

-- How often a key was accepted and refused, by the hour.
CREATE TABLE api_key_usage (
	key_id  TEXT    NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
	hour    INTEGER NOT NULL,
	ok      INTEGER NOT NULL,
	refused INTEGER NOT NULL,
	PRIMARY KEY (key_id, hour)
);
