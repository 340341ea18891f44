-- +goose Up
CREATE TABLE users (
	id                  text NOT NULL PRIMARY KEY,
	email               text NOT NULL,
	canonical           text NOT NULL UNIQUE,
	name                text NOT NULL,
	status              text NOT NULL,
	password_hash       text NOT NULL,
	created_at          bigint NOT NULL,
	password_changed_at bigint NOT NULL
);

CREATE TABLE organisations (
	id         text NOT NULL PRIMARY KEY,
	name       text NOT NULL,
	slug       text NOT NULL UNIQUE,
	status     text NOT NULL,
	created_at bigint NOT NULL
);

CREATE TABLE memberships (
	user_id    text NOT NULL REFERENCES users (id),
	org_id     text NOT NULL REFERENCES organisations (id),
	role       text NOT NULL,
	created_at bigint NOT NULL,
	PRIMARY KEY (user_id, org_id)
);
CREATE INDEX memberships_org ON memberships (org_id, user_id);
CREATE INDEX memberships_role ON memberships (org_id, role);

-- The custom roles; the built-in ones are code.
CREATE TABLE roles (
	org_id      text NOT NULL REFERENCES organisations (id),
	name        text NOT NULL,
	permissions text NOT NULL,
	updated_at  bigint NOT NULL,
	PRIMARY KEY (org_id, name)
);

-- One row, inserted by whoever makes the first run.
CREATE TABLE first_run (
	id bigint NOT NULL PRIMARY KEY CHECK (id = 1),
	at bigint NOT NULL
);

CREATE TABLE setup_links (
	digest     bytea NOT NULL PRIMARY KEY,
	user_id    text NOT NULL REFERENCES users (id),
	expires_at bigint NOT NULL,
	used_at    bigint NOT NULL
);
