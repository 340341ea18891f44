-- +goose Up
-- Authorization codes, by a SHA-256 that says what kind of thing they are of: no
-- other single-use thing is kept here. used_at is 0 until a code is redeemed, and
-- then session_id is the family that it gave. Times are microseconds.
CREATE TABLE authorization_codes (
	digest             bytea NOT NULL PRIMARY KEY,
	client_id          text NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
	user_id            text NOT NULL,
	org_id             text NOT NULL,
	browser_session_id text NOT NULL,
	redirect_uri       text NOT NULL,
	code_challenge     text NOT NULL,
	"authorization"    text NOT NULL,
	created_at         bigint NOT NULL,
	expires_at         bigint NOT NULL,
	used_at            bigint NOT NULL,
	session_id         text NOT NULL,
	forget_at          bigint NOT NULL
);
CREATE INDEX authorization_codes_forget_at ON authorization_codes (forget_at);
CREATE INDEX authorization_codes_client ON authorization_codes (client_id, user_id);

-- What a user allows a client without being asked again. Scopes are separated by
-- spaces, which none of them can hold.
CREATE TABLE consents (
	user_id    text NOT NULL,
	client_id  text NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
	scopes     text NOT NULL,
	granted_at bigint NOT NULL,
	updated_at bigint NOT NULL,
	PRIMARY KEY (user_id, client_id)
);
CREATE INDEX consents_client ON consents (client_id);
