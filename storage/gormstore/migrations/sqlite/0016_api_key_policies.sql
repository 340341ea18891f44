-- +goose Up
-- What no API key of the organisation may exceed: permissions, separated by
-- spaces, where empty is no ceiling, and seconds from creation to the end, where 0
-- is no bound.
ALTER TABLE organisations ADD COLUMN api_key_permissions TEXT NOT NULL DEFAULT '';
ALTER TABLE organisations ADD COLUMN api_key_max_lifetime INTEGER NOT NULL DEFAULT 0;
