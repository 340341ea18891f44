-- +goose Up
-- The clients that must still be told that a session of theirs ended: one row
-- for each session, added in the commit that ends it and removed when the client
-- was told, refused to hear, or was tried often enough. Whoever delivers moves
-- due_at into the future first, so that no other replica does the same.
CREATE TABLE backchannel_logouts (
	session_id TEXT    NOT NULL PRIMARY KEY,
	client_id  TEXT    NOT NULL,
	user_id    TEXT    NOT NULL,
	org_id     TEXT    NOT NULL,
	ended_at   INTEGER NOT NULL,
	due_at     INTEGER NOT NULL,
	attempts   INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX backchannel_logouts_due ON backchannel_logouts (due_at, session_id);
