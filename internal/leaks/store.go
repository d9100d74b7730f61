package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	_ "modernc.org/sqlite" // reads the archive

	"github.com/nave-dev/nave/hub/store/embedded"
)

// transient are the keys that a session has as long as it lives; see hub/store/doc.go. Of sessions that are over none is left.
var transient = map[string]string{"s": "sessions", "q": "signals", "a": "approvals", "o": "outboxes"}

// etcd counts the keys by kind, in the directory of a hub that has stopped.
func (t *table) etcd(ctx context.Context, dir string) error {
	s, err := embedded.Start(ctx, embedded.Config{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return fmt.Errorf("open the hub's store: %w", err)
	}
	defer s.Close()
	res, err := s.Client().Get(ctx, "/nave/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return fmt.Errorf("read the keys of the hub's store: %w", err)
	}
	n := map[string]int64{}
	for _, kind := range transient {
		n["shards: "+kind] = 0
	}
	for _, kv := range res.Kvs {
		parts := strings.Split(strings.TrimPrefix(string(kv.Key), "/nave/"), "/")
		kind := parts[0]
		if kind == "shards" && len(parts) > 2 {
			kind = "shards: " + transient[parts[2]]
			if transient[parts[2]] == "" {
				kind = "shards: " + parts[2]
			}
		}
		n[kind]++
	}
	for _, kind := range sorted(n) {
		t.add("etcd keys: "+kind, n[kind], count, none, 0)
	}
	return nil
}

// byDesign are the tables of the archive that keep history.
var byDesign = []string{"events", "logs", "positions", "settled", "decisions", "side_events", "terminated"}

// archive counts the rows of every table, while the hub runs.
func (t *table) archive(ctx context.Context, file string) (err error) {
	db, err := sql.Open("sqlite", "file:"+file+"?mode=ro&_pragma=query_only(1)&_pragma=busy_timeout(5000)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	rows, err := db.QueryContext(ctx, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'goose_%' ORDER BY name")
	if err != nil {
		return fmt.Errorf("list the tables of the archive: %w", err)
	}
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		names = append(names, name)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for _, name := range names {
		var n int64
		if err := db.QueryRowContext(ctx, "SELECT count(*) FROM "+name).Scan(&n); err != nil {
			return fmt.Errorf("count %s: %w", name, err)
		}
		slack := int64(none)
		if slices.Contains(byDesign, name) {
			slack = history
		}
		t.add("archive rows: "+name, n, count, slack, 0)
	}
	return nil
}
