-- Only what version 1 can live beside: it goes on writing while replicas are replaced one by one. Reasons and texts are bytes, as the
-- text of events is.

-- +goose Up

-- Why a signal is dead, of which agent it is, and the dead letter that it repeats.
ALTER TABLE settled ADD COLUMN reason BYTEA NOT NULL DEFAULT '';
ALTER TABLE settled ADD COLUMN agent_name TEXT NOT NULL DEFAULT '';
ALTER TABLE settled ADD COLUMN replay_of TEXT NOT NULL DEFAULT '';
CREATE INDEX settled_dead ON settled (org, settled_at, signal) WHERE outcome = 'dead';
CREATE INDEX settled_replay ON settled (replay_of) WHERE replay_of <> '';
CREATE INDEX settled_due ON settled (settled_at) WHERE outcome = 'done' OR idempotency_key <> '';

-- Where an epoch was placed.
CREATE INDEX decisions_placed ON decisions (session, incarnation, epoch) WHERE cluster <> '';

-- Events whose epoch was over: kept for people, part of no log.
CREATE TABLE side_events (
  id            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  session       TEXT    NOT NULL,
  source        TEXT    NOT NULL,
  source_number BIGINT NOT NULL,
  org           TEXT    NOT NULL,
  type          TEXT    NOT NULL,
  time          BIGINT NOT NULL,
  cluster       TEXT    NOT NULL,
  text          BYTEA   NOT NULL,
  signals       TEXT    NOT NULL,
  outcome       TEXT    NOT NULL,
  attributes    TEXT    NOT NULL,
  received_at   BIGINT NOT NULL,
  UNIQUE (session, source, source_number)
);
CREATE INDEX side_events_arrival ON side_events (session, id);

-- Sessions that ended, as JSON of their records.
CREATE TABLE terminated (
  session TEXT NOT NULL PRIMARY KEY,
  org     TEXT NOT NULL,
  agent   TEXT NOT NULL,
  body    TEXT NOT NULL
);
