-- +goose Up
-- Where the access tokens of a session stand in status lists, as tokens.Live
-- packs it. It is written with the row, by what writes the row anyway.
ALTER TABLE sessions ADD COLUMN live TEXT NOT NULL DEFAULT '';

-- Status lists give their places out in blocks, each to one replica, so that
-- issuing a token writes nothing. One list is open at a time.
CREATE TABLE status_lists (
	id            TEXT    NOT NULL PRIMARY KEY,
	next_position INTEGER NOT NULL,
	created_at    INTEGER NOT NULL,
	closed_at     INTEGER NOT NULL
);
CREATE UNIQUE INDEX status_lists_open ON status_lists (closed_at) WHERE closed_at = 0;

-- The blocks that belong to the tokens of one API key or client, which no
-- session remembers; user_id is who owns the API key.
CREATE TABLE status_leases (
	list_id        TEXT    NOT NULL,
	first_position INTEGER NOT NULL,
	places         INTEGER NOT NULL,
	holder_kind    TEXT    NOT NULL,
	holder_id      TEXT    NOT NULL,
	user_id        TEXT    NOT NULL,
	ends_at        INTEGER NOT NULL,
	PRIMARY KEY (list_id, first_position)
);
CREATE INDEX status_leases_holder ON status_leases (holder_id);
CREATE INDEX status_leases_user ON status_leases (user_id) WHERE user_id <> '';
CREATE INDEX status_leases_ends ON status_leases (ends_at);
