-- +goose Up
-- Symmetric secrets of the deployment, sealed under the master key.
CREATE TABLE sealed_secrets (
	purpose    text    NOT NULL,
	id         integer NOT NULL,
	sealed     bytea   NOT NULL,
	created_at bigint  NOT NULL,
	PRIMARY KEY (purpose, id)
);

-- The keys that sign tokens; the private half is sealed.
CREATE TABLE signing_keys (
	id           text   NOT NULL PRIMARY KEY,
	algorithm    text   NOT NULL,
	state        text   NOT NULL,
	created_at   bigint NOT NULL,
	activated_at bigint NOT NULL,
	retired_at   bigint NOT NULL,
	public       text   NOT NULL,
	sealed       bytea  NOT NULL
);
-- Replicas that start together agree on one key for each algorithm.
CREATE UNIQUE INDEX signing_keys_active ON signing_keys (algorithm) WHERE state = 'active';

CREATE TABLE api_keys (
	id              text    NOT NULL PRIMARY KEY,
	lookup          text    NOT NULL UNIQUE,
	prefix          text    NOT NULL,
	name            text    NOT NULL,
	org_id          text    NOT NULL,
	owner_id        text    NOT NULL,
	created_by_user text    NOT NULL,
	created_by_key  text    NOT NULL,
	permissions     text    NOT NULL,
	created_at      bigint  NOT NULL,
	expires_at      bigint  NOT NULL,
	revoked_at      bigint  NOT NULL,
	revoked_by      text    NOT NULL,
	generation      integer NOT NULL,
	used_at         bigint  NOT NULL,
	used_ip         text    NOT NULL,
	used_agent      text    NOT NULL
);
CREATE INDEX api_keys_org ON api_keys (org_id, id DESC);
CREATE INDEX api_keys_owner ON api_keys (owner_id, org_id);
CREATE INDEX api_keys_made_by ON api_keys (created_by_key) WHERE created_by_key <> '';

-- The credentials of a key: digests only, the current and at most one previous.
CREATE TABLE api_key_secrets (
	key_id      text    NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
	generation  integer NOT NULL,
	digest      bytea   NOT NULL,
	pepper      integer NOT NULL,
	last4       text    NOT NULL,
	created_at  bigint  NOT NULL,
	valid_until bigint  NOT NULL,
	due_at      bigint  NOT NULL,
	used_at     bigint  NOT NULL,
	used_ip     text    NOT NULL,
	used_agent  text    NOT NULL,
	PRIMARY KEY (key_id, generation)
);
CREATE INDEX api_key_secrets_age ON api_key_secrets (created_at);

-- How often a key was accepted and refused, by the hour.
CREATE TABLE api_key_usage (
	key_id  text   NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
	hour    bigint NOT NULL,
	ok      bigint NOT NULL,
	refused bigint NOT NULL,
	PRIMARY KEY (key_id, hour)
);
