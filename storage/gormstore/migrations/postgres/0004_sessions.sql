-- +goose Up
-- One row per login on one device: the session and its whole family of refresh
-- tokens. No token is stored, nor anything one could be made from. A refresh
-- changes columns that no index holds, so that PostgreSQL updates in place (HOT).
CREATE TABLE sessions (
	id              text    PRIMARY KEY,
	user_id         text    NOT NULL,
	org_id          text    NOT NULL,
	client_id       text    NOT NULL,
	method          text    NOT NULL,
	created_at      bigint  NOT NULL,
	expires_at      bigint  NOT NULL,
	refreshable     boolean NOT NULL,
	version         bigint  NOT NULL,
	generation      bigint  NOT NULL,
	last_used       bigint  NOT NULL,
	previous_at     bigint  NOT NULL,
	retry_key       bytea   NOT NULL,
	contested_from  bigint  NOT NULL,
	contested_to    bigint  NOT NULL,
	contested_at    bigint  NOT NULL,
	contested_agent bytea   NOT NULL,
	network         text    NOT NULL,
	agent           bytea   NOT NULL,
	proof           bytea   NOT NULL,
	proven          boolean NOT NULL,
	seen_at         bigint  NOT NULL,
	ip              text    NOT NULL,
	user_agent      text    NOT NULL,
	revoked_at      bigint  NOT NULL,
	revoked_reason  text    NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX sessions_org ON sessions (org_id, id);
CREATE INDEX sessions_user ON sessions (user_id, org_id, id);
CREATE INDEX sessions_expires ON sessions (expires_at);

-- What speaks against one access token, asked while the feed is silent.
CREATE INDEX changes_key ON changes (key, kind);
