-- Only what version 2 can live beside.

-- +goose Up

-- The sessions that led to a signal (JSON), and the approval whose answer it carries.
ALTER TABLE settled ADD COLUMN origin TEXT NOT NULL DEFAULT '';
ALTER TABLE settled ADD COLUMN approval TEXT NOT NULL DEFAULT '';

-- Signals that were cancelled are forgotten like those that are done.
DROP INDEX settled_due;
CREATE INDEX settled_due ON settled (settled_at) WHERE outcome <> 'dead' OR idempotency_key <> '';
