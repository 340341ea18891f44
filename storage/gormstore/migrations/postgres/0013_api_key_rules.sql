-- +goose Up
-- Where and how often a key may be used: networks, limits ("100/1m") and a quota
-- ("5000/day"), each separated by blanks; empty means no bound.
ALTER TABLE api_keys ADD COLUMN networks text NOT NULL DEFAULT '';
ALTER TABLE api_keys ADD COLUMN limits text NOT NULL DEFAULT '';
ALTER TABLE api_keys ADD COLUMN quota text NOT NULL DEFAULT '';

ALTER TABLE api_key_usage ADD COLUMN limited bigint NOT NULL DEFAULT 0;
CREATE INDEX api_key_usage_hour ON api_key_usage (hour);

-- What the replicas took of the windows of limited keys. taken is the last chunk.
CREATE TABLE api_key_allowances (
	key_id    text   NOT NULL,
	period    text   NOT NULL,
	starts_at bigint NOT NULL,
	ends_at   bigint NOT NULL,
	most      bigint NOT NULL,
	used      bigint NOT NULL,
	taken     bigint NOT NULL,
	PRIMARY KEY (key_id, period, starts_at)
);
CREATE INDEX api_key_allowances_end ON api_key_allowances (ends_at);
