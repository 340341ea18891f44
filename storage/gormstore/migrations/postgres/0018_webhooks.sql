-- +goose Up
-- Addresses that are sent an organisation's events. position is the place in the
-- organisation's chain up to which everything was sent, is of no interest or lies
-- among the dead letters. Whoever delivers moves leased_until into the future
-- first, so that no other replica does the same, and counts turn up.
CREATE TABLE webhooks (
	id             text NOT NULL PRIMARY KEY,
	org_id         text NOT NULL REFERENCES organisations (id),
	url            text NOT NULL,
	description    text NOT NULL,
	events         text NOT NULL,
	status         text NOT NULL,
	cause          text NOT NULL,
	created_at     bigint NOT NULL,
	created_by     text NOT NULL,
	position       bigint NOT NULL,
	attempts       bigint NOT NULL,
	due_at         bigint NOT NULL,
	failing_since  bigint NOT NULL,
	delivered_at   bigint NOT NULL,
	failed_at      bigint NOT NULL,
	failure        text NOT NULL,
	failure_status bigint NOT NULL,
	version        bigint NOT NULL,
	turn           bigint NOT NULL,
	leased_until   bigint NOT NULL
);
CREATE INDEX webhooks_org ON webhooks (org_id, id DESC);
CREATE INDEX webhooks_due ON webhooks (due_at, id) WHERE status = 'active';

CREATE TABLE webhook_secrets (
	webhook_id  text NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
	n           bigint NOT NULL,
	sealed      bytea NOT NULL,
	created_at  bigint NOT NULL,
	valid_until bigint NOT NULL,
	PRIMARY KEY (webhook_id, n)
);

-- What an endpoint could not be sent in all its attempts. replay is 1 where it is
-- to be tried again.
CREATE TABLE webhook_dead_letters (
	webhook_id     text NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
	position       bigint NOT NULL,
	event_id       text NOT NULL,
	name           text NOT NULL,
	attempts       bigint NOT NULL,
	failed_at      bigint NOT NULL,
	failure        text NOT NULL,
	failure_status bigint NOT NULL,
	replay         bigint NOT NULL,
	PRIMARY KEY (webhook_id, position)
);
CREATE INDEX webhook_dead_letters_age ON webhook_dead_letters (failed_at);
CREATE INDEX webhook_dead_letters_replay ON webhook_dead_letters (webhook_id, position) WHERE replay = 1;
