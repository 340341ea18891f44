-- +goose Up
-- The place of each committed event in the chain of its organisation (shard). id
-- is the order of the whole deployment, without gaps: one sealer at a time gives
-- it. Links outlive their events; pruned is 1 where the event is gone. at is the
-- time of the event.
CREATE TABLE audit_links (
	id       INTEGER NOT NULL PRIMARY KEY,
	shard    TEXT   NOT NULL,
	position INTEGER NOT NULL,
	seq      INTEGER NOT NULL UNIQUE,
	at       INTEGER NOT NULL,
	class    TEXT   NOT NULL,
	body     BLOB  NOT NULL,
	hash     BLOB  NOT NULL,
	pruned   INTEGER NOT NULL DEFAULT 0,
	UNIQUE (shard, position)
);
CREATE INDEX audit_links_age ON audit_links (class, at) WHERE pruned = 0;

-- The head of each chain, how far it is signed for, and from where it is kept.
CREATE TABLE audit_shards (
	shard        TEXT   NOT NULL PRIMARY KEY,
	position     INTEGER NOT NULL,
	hash         BLOB  NOT NULL,
	signed       INTEGER NOT NULL,
	signed_at    INTEGER NOT NULL,
	signed_hash  BLOB  NOT NULL,
	base         INTEGER NOT NULL,
	base_hash    BLOB  NOT NULL,
	base_jws     TEXT   NOT NULL
);
CREATE INDEX audit_shards_news ON audit_shards (signed_at) WHERE position > signed;

CREATE TABLE audit_checkpoints (
	shard    TEXT   NOT NULL,
	position INTEGER NOT NULL,
	link_id  INTEGER NOT NULL,
	at       INTEGER NOT NULL,
	jws      TEXT   NOT NULL,
	PRIMARY KEY (shard, position)
);
CREATE INDEX audit_checkpoints_link ON audit_checkpoints (link_id);

-- One row: where the sealer is.
CREATE TABLE audit_sealer (
	id       INTEGER NOT NULL PRIMARY KEY,
	links    INTEGER NOT NULL,
	seq      INTEGER NOT NULL,
	snapshot TEXT   NOT NULL
);
INSERT INTO audit_sealer (id, links, seq, snapshot) VALUES (1, 0, 0, '');

-- How far each output came: cursor is the id of the last link that was handed over.
CREATE TABLE audit_outputs (
	name         TEXT   NOT NULL PRIMARY KEY,
	cursor       INTEGER NOT NULL,
	holder       TEXT   NOT NULL,
	leased_until INTEGER NOT NULL
);
