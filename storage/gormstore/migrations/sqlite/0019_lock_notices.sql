-- +goose Up
-- The locks that people are to be told of by mail: a row for each, added in the
-- commit that locks, also for identifiers that nobody has (user_id is empty, and
-- no mail follows). due_at is 0 once there is nothing left to do; whoever sends
-- moves it into the future first, so that no other replica does the same. Rows
-- stay for a while so that nobody gets many mails.
CREATE TABLE lock_notices (
	id           TEXT NOT NULL PRIMARY KEY,
	identifier   BLOB NOT NULL,
	user_id      TEXT NOT NULL,
	org_id       TEXT NOT NULL,
	scope        TEXT NOT NULL,
	source       TEXT NOT NULL,
	locked_at    INTEGER NOT NULL,
	locked_until INTEGER NOT NULL,
	due_at       INTEGER NOT NULL,
	attempts     INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX lock_notices_due ON lock_notices (due_at, id) WHERE due_at > 0;
CREATE INDEX lock_notices_identifier ON lock_notices (identifier, locked_at);
CREATE INDEX lock_notices_locked_at ON lock_notices (locked_at);

-- The links in those mails. The token itself is nowhere but in the mail.
CREATE TABLE unlock_links (
	digest     BLOB NOT NULL PRIMARY KEY,
	identifier BLOB NOT NULL,
	user_id    TEXT NOT NULL,
	expires_at INTEGER NOT NULL,
	used_at    INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX unlock_links_expires_at ON unlock_links (expires_at);
