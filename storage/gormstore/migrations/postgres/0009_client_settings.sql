-- +goose Up
-- What a registration says beyond credentials, grants and addresses is one JSON
-- document. What is asked of many clients at once has columns of its own: which
-- registered themselves with nobody's leave, from which network (empty: no such
-- client), and when those are forgotten (0: never).
ALTER TABLE clients ADD COLUMN settings text NOT NULL DEFAULT '{}';
ALTER TABLE clients ADD COLUMN backchannel_logout_session boolean NOT NULL DEFAULT false;
ALTER TABLE clients ADD COLUMN frontchannel_logout_uri text NOT NULL DEFAULT '';
ALTER TABLE clients ADD COLUMN frontchannel_logout_session boolean NOT NULL DEFAULT false;
ALTER TABLE clients ADD COLUMN open_from text NOT NULL DEFAULT '';
ALTER TABLE clients ADD COLUMN expires_at bigint NOT NULL DEFAULT 0;
CREATE INDEX clients_open ON clients (open_from, created_at) WHERE open_from <> '';
CREATE INDEX clients_expires ON clients (expires_at) WHERE expires_at > 0;
