-- Only what version 3 can live beside: it goes on writing the shard, which the id of the session says as well. Nothing is copied.

-- +goose Up

-- The key is (session, number). Whether a source goes on where it ended is compared with positions in the transaction of each
-- append.
ALTER TABLE events DROP CONSTRAINT events_session_source_source_number_key;
ALTER TABLE events DROP COLUMN id;
ALTER TABLE events ALTER COLUMN shard DROP NOT NULL;
