-- +goose Up
-- Lists are separated by spaces, which none of their words can hold.
CREATE TABLE clients (
	id                        text   NOT NULL PRIMARY KEY,
	org_id                    text   NOT NULL,
	name                      text   NOT NULL,
	auth_method               text   NOT NULL,
	status                    text   NOT NULL,
	grants                    text   NOT NULL,
	scopes                    text   NOT NULL,
	redirect_uris             text   NOT NULL,
	post_logout_redirect_uris text   NOT NULL,
	backchannel_logout_uri    text   NOT NULL,
	jwks                      text   NOT NULL,
	jwks_uri                  text   NOT NULL,
	created_at                bigint NOT NULL,
	created_by                text   NOT NULL
);
CREATE INDEX clients_org ON clients (org_id, id DESC);

-- The current secret, valid until 0, and at most one previous: digests, and
-- where the method needs the secret itself, that under the master key.
CREATE TABLE client_secrets (
	client_id   text   NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
	digest      bytea  NOT NULL,
	sealed      bytea,
	created_at  bigint NOT NULL,
	valid_until bigint NOT NULL,
	PRIMARY KEY (client_id, digest)
);
