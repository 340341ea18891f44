-- +goose Up
-- Where the access tokens of a session stand in status lists, as tokens.Live
-- packs it. It is written with the row, by what writes the row anyway.
ALTER TABLE sessions ADD COLUMN live text NOT NULL DEFAULT '';

-- Status lists give their places out in blocks, each to one replica, so that
-- issuing a token writes nothing. One list is open at a time.
CREATE TABLE status_lists (
	id            text   NOT NULL PRIMARY KEY,
	next_position bigint NOT NULL,
	created_at    bigint NOT NULL,
	closed_at     bigint NOT NULL
);
CREATE UNIQUE INDEX status_lists_open ON status_lists (closed_at) WHERE closed_at = 0;

-- The blocks that belong to the tokens of one API key or client, which no
-- session remembers; user_id is who owns the API key.
CREATE TABLE status_leases (
	list_id        text   NOT NULL,
	first_position bigint NOT NULL,
	places         bigint NOT NULL,
	holder_kind    text   NOT NULL,
	holder_id      text   NOT NULL,
	user_id        text   NOT NULL,
	ends_at        bigint NOT NULL,
	PRIMARY KEY (list_id, first_position)
);
CREATE INDEX status_leases_holder ON status_leases (holder_id);
CREATE INDEX status_leases_user ON status_leases (user_id) WHERE user_id <> '';
CREATE INDEX status_leases_ends ON status_leases (ends_at);
