-- Times are nanoseconds since 1970 in UTC; 0 is the zero time. JSON columns are empty when there is nothing.

-- +goose Up
CREATE TABLE shard_owner (
  shard       INTEGER PRIMARY KEY,
  incarnation INTEGER NOT NULL,
  n           INTEGER NOT NULL
);

CREATE TABLE events (
  id            INTEGER PRIMARY KEY,
  session       TEXT    NOT NULL,
  number        INTEGER NOT NULL,
  source        TEXT    NOT NULL,
  source_number INTEGER NOT NULL,
  org           TEXT    NOT NULL,
  shard         INTEGER NOT NULL,
  type          TEXT    NOT NULL,
  time          INTEGER NOT NULL,
  cluster       TEXT    NOT NULL,
  text          TEXT    NOT NULL,
  signals       TEXT    NOT NULL,
  outcome       TEXT    NOT NULL,
  attributes    TEXT    NOT NULL,
  UNIQUE (session, number),
  UNIQUE (session, source, source_number)
);

-- How far each log reaches: kept in the transaction of the events, so that a takeover reads no events.
CREATE TABLE logs (
  shard   INTEGER NOT NULL,
  session TEXT    NOT NULL,
  org     TEXT    NOT NULL,
  number  INTEGER NOT NULL,
  PRIMARY KEY (shard, session)
) WITHOUT ROWID;

CREATE TABLE positions (
  shard   INTEGER NOT NULL,
  session TEXT    NOT NULL,
  source  TEXT    NOT NULL,
  number  INTEGER NOT NULL,
  PRIMARY KEY (shard, session, source)
) WITHOUT ROWID;

CREATE TABLE settled (
  signal          TEXT    NOT NULL PRIMARY KEY,
  org             TEXT    NOT NULL,
  agent           TEXT    NOT NULL,
  session_key     TEXT    NOT NULL,
  idempotency_key TEXT    NOT NULL,
  session         TEXT    NOT NULL,
  sequence        INTEGER NOT NULL,
  payload_hash    BLOB    NOT NULL,
  payload_ref     TEXT    NOT NULL,
  payload         BLOB ,           -- of dead signals, so that they can be sent again
  sender          TEXT    NOT NULL,
  accepted_at     INTEGER NOT NULL,
  deliveries      INTEGER NOT NULL,
  outcome         TEXT    NOT NULL,
  settled_at      INTEGER NOT NULL
);
CREATE UNIQUE INDEX settled_key ON settled (org, agent, session_key, idempotency_key) WHERE idempotency_key <> '';
CREATE INDEX settled_session ON settled (session, sequence);

CREATE TABLE decisions (
  id          INTEGER PRIMARY KEY,
  org         TEXT    NOT NULL,
  session     TEXT    NOT NULL,
  incarnation INTEGER NOT NULL,
  epoch       INTEGER NOT NULL,
  time        INTEGER NOT NULL,
  cluster     TEXT    NOT NULL,
  summary     TEXT    NOT NULL,
  body        TEXT    NOT NULL,
  UNIQUE (session, time, incarnation, epoch)
);
