-- +goose Up
-- Lists are separated by spaces, which none of their words can hold.
CREATE TABLE clients (
	id                        TEXT    NOT NULL PRIMARY KEY,
	org_id                    TEXT    NOT NULL,
	name                      TEXT    NOT NULL,
	auth_method               TEXT    NOT NULL,
	status                    TEXT    NOT NULL,
	grants                    TEXT    NOT NULL,
	scopes                    TEXT    NOT NULL,
	redirect_uris             TEXT    NOT NULL,
	post_logout_redirect_uris TEXT    NOT NULL,
	backchannel_logout_uri    TEXT    NOT NULL,
	jwks                      TEXT    NOT NULL,
	jwks_uri                  TEXT    NOT NULL,
	created_at                INTEGER NOT NULL,
	created_by                TEXT    NOT NULL
);
CREATE INDEX clients_org ON clients (org_id, id DESC);

-- The current secret, valid until 0, and at most one previous: digests, and
-- where the method needs the secret itself, that under the master key.
CREATE TABLE client_secrets (
	client_id   TEXT    NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
	digest      BLOB    NOT NULL,
	sealed      BLOB,
	created_at  INTEGER NOT NULL,
	valid_until INTEGER NOT NULL,
	PRIMARY KEY (client_id, digest)
);
