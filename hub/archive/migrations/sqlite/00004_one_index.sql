-- Only what version 3 can live beside: it goes on writing the shard, which the id of the session says as well.

-- +goose Up

-- One index less, and none that SQLite made by itself: it could not be dropped. Whether a source goes on where it ended is compared with
-- positions in the transaction of each append.
CREATE TABLE events_4 (
  session       TEXT    NOT NULL,
  number        INTEGER NOT NULL,
  source        TEXT    NOT NULL,
  source_number INTEGER NOT NULL,
  org           TEXT    NOT NULL,
  shard         INTEGER,
  type          TEXT    NOT NULL,
  time          INTEGER NOT NULL,
  cluster       TEXT    NOT NULL,
  text          TEXT    NOT NULL,
  signals       TEXT    NOT NULL,
  outcome       TEXT    NOT NULL,
  attributes    TEXT    NOT NULL
);
INSERT INTO events_4 (session, number, source, source_number, org, type, time, cluster, text, signals, outcome, attributes)
  SELECT session, number, source, source_number, org, type, time, cluster, text, signals, outcome, attributes FROM events ORDER BY id;
DROP TABLE events;
ALTER TABLE events_4 RENAME TO events;
CREATE UNIQUE INDEX events_number ON events (session, number);
