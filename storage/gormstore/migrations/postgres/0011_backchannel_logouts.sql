-- +goose Up
-- The clients that must still be told that a session of theirs ended: one row
-- for each session, added in the commit that ends it and removed when the client
-- was told, refused to hear, or was tried often enough. Whoever delivers moves
-- due_at into the future first, so that no other replica does the same.
CREATE TABLE backchannel_logouts (
	session_id text   NOT NULL PRIMARY KEY,
	client_id  text   NOT NULL,
	user_id    text   NOT NULL,
	org_id     text   NOT NULL,
	ended_at   bigint NOT NULL,
	due_at     bigint NOT NULL,
	attempts   bigint NOT NULL
);
CREATE INDEX backchannel_logouts_due ON backchannel_logouts (due_at, session_id);
