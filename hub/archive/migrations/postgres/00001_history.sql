-- Times are nanoseconds since 1970 in UTC; 0 is the zero time. JSON columns are empty when there is nothing.
-- The text of events is bytes: agents write what PostgreSQL does not take as text.

-- +goose Up
CREATE TABLE shard_owner (
  shard       BIGINT  PRIMARY KEY,
  incarnation BIGINT NOT NULL,
  n           BIGINT NOT NULL
);

CREATE TABLE events (
  id            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  session       TEXT    NOT NULL,
  number        BIGINT NOT NULL,
  source        TEXT    NOT NULL,
  source_number BIGINT NOT NULL,
  org           TEXT    NOT NULL,
  shard         BIGINT NOT NULL,
  type          TEXT    NOT NULL,
  time          BIGINT NOT NULL,
  cluster       TEXT    NOT NULL,
  text          BYTEA   NOT NULL,
  signals       TEXT    NOT NULL,
  outcome       TEXT    NOT NULL,
  attributes    TEXT    NOT NULL,
  UNIQUE (session, number),
  UNIQUE (session, source, source_number)
);

-- How far each log reaches: kept in the transaction of the events, so that a takeover reads no events.
CREATE TABLE logs (
  shard   BIGINT NOT NULL,
  session TEXT    NOT NULL,
  org     TEXT    NOT NULL,
  number  BIGINT NOT NULL,
  PRIMARY KEY (shard, session)
);

CREATE TABLE positions (
  shard   BIGINT NOT NULL,
  session TEXT    NOT NULL,
  source  TEXT    NOT NULL,
  number  BIGINT NOT NULL,
  PRIMARY KEY (shard, session, source)
);

CREATE TABLE settled (
  signal          TEXT    NOT NULL PRIMARY KEY,
  org             TEXT    NOT NULL,
  agent           TEXT    NOT NULL,
  session_key     TEXT    NOT NULL,
  idempotency_key TEXT    NOT NULL,
  session         TEXT    NOT NULL,
  sequence        BIGINT NOT NULL,
  payload_hash    BYTEA   NOT NULL,
  payload_ref     TEXT    NOT NULL,
  payload         BYTEA,           -- of dead signals, so that they can be sent again
  sender          TEXT    NOT NULL,
  accepted_at     BIGINT NOT NULL,
  deliveries      BIGINT NOT NULL,
  outcome         TEXT    NOT NULL,
  settled_at      BIGINT NOT NULL
);
CREATE UNIQUE INDEX settled_key ON settled (org, agent, session_key, idempotency_key) WHERE idempotency_key <> '';
CREATE INDEX settled_session ON settled (session, sequence);

CREATE TABLE decisions (
  id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  org         TEXT    NOT NULL,
  session     TEXT    NOT NULL,
  incarnation BIGINT NOT NULL,
  epoch       BIGINT NOT NULL,
  time        BIGINT NOT NULL,
  cluster     TEXT    NOT NULL,
  summary     TEXT    NOT NULL,
  body        TEXT    NOT NULL,
  UNIQUE (session, time, incarnation, epoch)
);
