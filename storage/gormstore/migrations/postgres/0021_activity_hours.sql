-- +goose Up
-- What happened in an organisation, by the hour: how many logins, failures, locks,
-- tokens and uses of keys. hour is its start. What cannot be told from the audit
-- log, because only the first of an hour is recorded there, is counted where it
-- happens.
CREATE TABLE activity_hours (
	org_id text   NOT NULL,
	hour   bigint NOT NULL,
	kind   text   NOT NULL,
	label  text   NOT NULL,
	count  bigint NOT NULL,
	PRIMARY KEY (org_id, hour, kind, label)
);
CREATE INDEX activity_hours_hour ON activity_hours (hour);

-- How far the log was counted: cursor is the id of the last link.
CREATE TABLE activity_reader (
	id     bigint NOT NULL PRIMARY KEY,
	cursor bigint NOT NULL
);
INSERT INTO activity_reader (id, cursor) VALUES (1, 0);

-- What was known of keys before.
INSERT INTO activity_hours (org_id, hour, kind, label, count)
	SELECT k.org_id, u.hour, 'key_use', 'ok', SUM(u.ok) FROM api_key_usage u JOIN api_keys k ON k.id = u.key_id GROUP BY k.org_id, u.hour HAVING SUM(u.ok) > 0;
INSERT INTO activity_hours (org_id, hour, kind, label, count)
	SELECT k.org_id, u.hour, 'key_use', 'refused', SUM(u.refused) FROM api_key_usage u JOIN api_keys k ON k.id = u.key_id GROUP BY k.org_id, u.hour HAVING SUM(u.refused) > 0;
INSERT INTO activity_hours (org_id, hour, kind, label, count)
	SELECT k.org_id, u.hour, 'key_use', 'limited', SUM(u.limited) FROM api_key_usage u JOIN api_keys k ON k.id = u.key_id GROUP BY k.org_id, u.hour HAVING SUM(u.limited) > 0;

-- Who was locked out is asked by every visit of a page.
CREATE INDEX audit_events_locks ON audit_events (org_id, at) WHERE name = 'login.locked';
