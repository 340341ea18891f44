-- +goose Up
-- The transaction that wrote an event. Numbers are given out in another order than
-- transactions commit; by this the sealer finds what it has not seen. Events from
-- before have none, and had committed when the column was added.
ALTER TABLE audit_events ADD COLUMN txid xid8;
ALTER TABLE audit_events ALTER COLUMN txid SET DEFAULT pg_current_xact_id();
CREATE INDEX audit_events_txid ON audit_events (txid, seq);

-- The place of each committed event in the chain of its organisation (shard). id
-- is the order of the whole deployment, without gaps: one sealer at a time gives
-- it. Links outlive their events; pruned is 1 where the event is gone. at is the
-- time of the event.
CREATE TABLE audit_links (
	id       bigint NOT NULL PRIMARY KEY,
	shard    text   NOT NULL,
	position bigint NOT NULL,
	seq      bigint NOT NULL UNIQUE,
	at       bigint NOT NULL,
	class    text   NOT NULL,
	body     bytea  NOT NULL,
	hash     bytea  NOT NULL,
	pruned   bigint NOT NULL DEFAULT 0,
	UNIQUE (shard, position)
);
CREATE INDEX audit_links_age ON audit_links (class, at) WHERE pruned = 0;

-- The head of each chain, how far it is signed for, and from where it is kept.
CREATE TABLE audit_shards (
	shard        text   NOT NULL PRIMARY KEY,
	position     bigint NOT NULL,
	hash         bytea  NOT NULL,
	signed       bigint NOT NULL,
	signed_at    bigint NOT NULL,
	signed_hash  bytea  NOT NULL,
	base         bigint NOT NULL,
	base_hash    bytea  NOT NULL,
	base_jws     text   NOT NULL
);
CREATE INDEX audit_shards_news ON audit_shards (signed_at) WHERE position > signed;

CREATE TABLE audit_checkpoints (
	shard    text   NOT NULL,
	position bigint NOT NULL,
	link_id  bigint NOT NULL,
	at       bigint NOT NULL,
	jws      text   NOT NULL,
	PRIMARY KEY (shard, position)
);
CREATE INDEX audit_checkpoints_link ON audit_checkpoints (link_id);

-- One row: where the sealer is.
CREATE TABLE audit_sealer (
	id       bigint NOT NULL PRIMARY KEY,
	links    bigint NOT NULL,
	seq      bigint NOT NULL,
	snapshot text   NOT NULL
);
INSERT INTO audit_sealer (id, links, seq, snapshot) VALUES (1, 0, 0, '');

-- How far each output came: cursor is the id of the last link that was handed over.
CREATE TABLE audit_outputs (
	name         text   NOT NULL PRIMARY KEY,
	cursor       bigint NOT NULL,
	holder       text   NOT NULL,
	leased_until bigint NOT NULL
);
