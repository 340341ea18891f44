-- +goose Up
CREATE TABLE users (
	id                  TEXT NOT NULL PRIMARY KEY,
	email               TEXT NOT NULL,
	canonical           TEXT NOT NULL UNIQUE,
	name                TEXT NOT NULL,
	status              TEXT NOT NULL,
	password_hash       TEXT NOT NULL,
	created_at          INTEGER NOT NULL,
	password_changed_at INTEGER NOT NULL
);

CREATE TABLE organisations (
	id         TEXT NOT NULL PRIMARY KEY,
	name       TEXT NOT NULL,
	slug       TEXT NOT NULL UNIQUE,
	status     TEXT NOT NULL,
	created_at INTEGER NOT NULL
);

CREATE TABLE memberships (
	user_id    TEXT NOT NULL REFERENCES users (id),
	org_id     TEXT NOT NULL REFERENCES organisations (id),
	role       TEXT NOT NULL,
	created_at INTEGER NOT NULL,
	PRIMARY KEY (user_id, org_id)
);
CREATE INDEX memberships_org ON memberships (org_id, user_id);
CREATE INDEX memberships_role ON memberships (org_id, role);

-- The custom roles; the built-in ones are code.
CREATE TABLE roles (
	org_id      TEXT NOT NULL REFERENCES organisations (id),
	name        TEXT NOT NULL,
	permissions TEXT NOT NULL,
	updated_at  INTEGER NOT NULL,
	PRIMARY KEY (org_id, name)
);

-- One row, inserted by whoever makes the first run.
CREATE TABLE first_run (
	id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
	at INTEGER NOT NULL
);

CREATE TABLE setup_links (
	digest     BLOB NOT NULL PRIMARY KEY,
	user_id    TEXT NOT NULL REFERENCES users (id),
	expires_at INTEGER NOT NULL,
	used_at    INTEGER NOT NULL
);
