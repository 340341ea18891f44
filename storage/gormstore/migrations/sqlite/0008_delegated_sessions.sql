-- +goose Up
-- What a session owes to an authorization request, and when its user last proved
-- who they are. A browser session is one of the client cli_browser; the sessions
-- that it delegated to other clients name it, and end with it unless offline.
-- authorized is what was granted, in JSON.
ALTER TABLE sessions ADD COLUMN browser_session_id TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN offline INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN authorized TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN authenticated_at INTEGER NOT NULL DEFAULT 0;
UPDATE sessions SET authenticated_at = created_at;
CREATE INDEX sessions_browser ON sessions (browser_session_id, id) WHERE browser_session_id <> '';
CREATE INDEX sessions_client ON sessions (client_id, user_id, id);
