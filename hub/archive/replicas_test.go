package archive_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/archive"
	"github.com/nave-dev/nave/internal/run"
)

// testOpenTogether opens an empty database from several replicas at once: one migrates, all work.
func testOpenTogether(t *testing.T, cfg archive.Config) {
	g := run.NewGroup(t.Context())
	for i := range 4 {
		g.Go("replica", func(ctx context.Context) error {
			a, err := archive.Open(ctx, cfg)
			if err != nil {
				return err
			}
			return errors.Join(a.Raise(ctx, api.Shard(i), api.Generation{Incarnation: 1, N: 1}), a.Close())
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// testFenceAcross lets two replicas fight over a shard: the log must stay dense, and each append of the former owner
// after the raise must be refused.
func testFenceAcross(t *testing.T, cfg archive.Config) {
	const shard, owners = api.Shard(9), 12
	replicas := []*archive.Archive{open(t, cfg), open(t, cfg)}
	defer func() {
		for _, a := range replicas {
			_ = a.Close()
		}
	}()
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	session := api.NewSessionID(began, shard, [10]byte{})
	g := run.NewGroup(t.Context())
	for n := range uint64(owners) {
		a := replicas[n%2]
		gen := api.Generation{Incarnation: 1, N: n + 1}
		g.Go(fmt.Sprint("owner ", n), func(ctx context.Context) error {
			if err := a.Raise(ctx, shard, gen); err != nil {
				if api.CodeOf(err) == api.CodeConflict {
					return nil // a later one was faster
				}
				return err
			}
			p, err := a.Positions(ctx, shard)
			if err != nil {
				return err
			}
			for number := p[session].Number + 1; ; number++ {
				e := api.Event{Session: session, Number: number, SourceNumber: number, Type: api.EventWaiting, Time: began, Text: gen.String()}
				err := a.Append(ctx, []hub.Append{{Shard: shard, Generation: gen, Org: api.DefaultOrg, Events: []api.Event{e}}})
				var stale *hub.StaleError
				switch {
				case errors.As(err, &stale) && gen.N < owners:
					return nil
				case err != nil:
					return err
				case gen.N == owners && number > 50:
					return nil
				}
			}
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	events, err := replicas[0].Events(t.Context(), api.DefaultOrg, session, 0, 100_000)
	if err != nil || len(events) < 50 {
		t.Fatalf("%d events, %v; want 50 or more", len(events), err)
	}
	owner := ""
	seen := map[string]bool{}
	for i, e := range events {
		if e.Number != uint64(i+1) {
			t.Fatalf("event %d at %d", e.Number, i)
		}
		if e.Text != owner {
			if seen[e.Text] {
				t.Fatalf("generation %s wrote event %d after it was passed by %s", e.Text, e.Number, owner)
			}
			owner = e.Text
			seen[owner] = true
		}
	}
}
