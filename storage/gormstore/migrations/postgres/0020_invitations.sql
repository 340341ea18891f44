-- +goose Up
-- Offers to join an organisation. state is open, accepted, revoked or expired; an
-- open one may have expired by its time. permits is what the role permitted when
-- it was offered last: whoever accepts gets no more.
CREATE TABLE invitations (
	id         text NOT NULL PRIMARY KEY,
	org_id     text NOT NULL REFERENCES organisations (id),
	email      text NOT NULL,
	canonical  text NOT NULL,
	role       text NOT NULL,
	permits    text NOT NULL,
	inviter    text NOT NULL,
	invited_by text NOT NULL,
	state      text NOT NULL,
	created_at bigint NOT NULL,
	expires_at bigint NOT NULL
);
CREATE INDEX invitations_org ON invitations (org_id, id);
CREATE UNIQUE INDEX invitations_open ON invitations (org_id, canonical) WHERE state = 'open';
CREATE INDEX invitations_expires_at ON invitations (expires_at);

-- Their links. The token itself is nowhere but in the mail, or was shown once.
CREATE TABLE invitation_links (
	digest     bytea NOT NULL PRIMARY KEY,
	invitation text NOT NULL REFERENCES invitations (id)
);
CREATE INDEX invitation_links_invitation ON invitation_links (invitation);

-- A letter for each time an invitation was sent, in the commit that wants it sent.
-- due_at is as in lock_notices. They are counted by organisation (created_at) and by
-- address (sent_at, 0 where it was not sent), so that nobody gets many.
CREATE TABLE invitation_letters (
	id         text NOT NULL PRIMARY KEY,
	invitation text NOT NULL REFERENCES invitations (id),
	org_id     text NOT NULL,
	canonical  text NOT NULL,
	created_at bigint NOT NULL,
	sent_at    bigint NOT NULL,
	due_at     bigint NOT NULL,
	attempts   bigint NOT NULL
);
CREATE INDEX invitation_letters_due ON invitation_letters (due_at, id) WHERE due_at > 0;
CREATE INDEX invitation_letters_org ON invitation_letters (org_id, created_at);
CREATE INDEX invitation_letters_canonical ON invitation_letters (canonical, sent_at);
CREATE INDEX invitation_letters_invitation ON invitation_letters (invitation);
