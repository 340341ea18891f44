-- +goose Up
-- When a key was reported as leaked and held until its owner decides; 0: it is not.
ALTER TABLE api_keys ADD COLUMN held_at bigint NOT NULL DEFAULT 0;

-- Keys that another system made. lookup is derived from the hash of the old
-- credential under the pepper, and says nothing without it. Rows stay for ever,
-- so that what was rotated away is not imported again.
CREATE TABLE api_key_imports (
	lookup text NOT NULL PRIMARY KEY,
	key_id text NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE
);

-- The processes that follow the log of changes. None believes its caches from
-- believes_until on, unless it says so again before.
CREATE TABLE replicas (
	id             text   NOT NULL PRIMARY KEY,
	believes_until bigint NOT NULL
);

-- Who heard a question in the log of changes, and so everything before it.
CREATE TABLE change_confirmations (
	question   text   NOT NULL,
	replica_id text   NOT NULL,
	at         bigint NOT NULL,
	PRIMARY KEY (question, replica_id)
);
