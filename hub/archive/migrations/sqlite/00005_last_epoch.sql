-- Only what version 4 can live beside.

-- +goose Up

-- Which epoch of a session was the last one in a cluster.
CREATE INDEX decisions_in ON decisions (session, cluster, incarnation, epoch) WHERE cluster <> '';
