-- +goose Up
-- Service accounts own API keys that outlive a person. They have no row in users:
-- what asks for people cannot find one, in this release or in the one before.
CREATE TABLE service_accounts (
	id          text   NOT NULL PRIMARY KEY,
	org_id      text   NOT NULL REFERENCES organisations (id),
	name        text   NOT NULL,
	description text   NOT NULL,
	role        text   NOT NULL,
	status      text   NOT NULL,
	created_at  bigint NOT NULL,
	UNIQUE (org_id, name)
);
CREATE INDEX service_accounts_org ON service_accounts (org_id, id DESC);
CREATE INDEX service_accounts_role ON service_accounts (org_id, role);

-- How many of the notices of its expiry were given for a key, the expiry itself
-- being the last.
ALTER TABLE api_keys ADD COLUMN notices integer NOT NULL DEFAULT 0;
CREATE INDEX api_keys_expiry ON api_keys (expires_at) WHERE expires_at > 0 AND revoked_at = 0;
