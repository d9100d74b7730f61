package store_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/internal/run"
)

const payload = 600 // bytes of a signal

// BenchmarkCommit accepts one signal per batch: a session, a signal and an event of the hub's own. Committers work on
// shards of their own; "merged" puts the batches of 64 shards in one transaction. The floor appends the payload to a file
// with one sync each.
func BenchmarkCommit(b *testing.B) {
	b.Run("floor", func(b *testing.B) {
		f, err := os.Create(filepath.Join(b.TempDir(), "floor"))
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		block := make([]byte, payload)
		for b.Loop() {
			if _, err := f.Write(block); err != nil {
				b.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
		}
		signals(b, b.N)
	})
	s := open(b, server(b), "")
	for _, committers := range []int{1, 64} {
		b.Run(fmt.Sprintf("committers=%d", committers), func(b *testing.B) {
			heads := claimAll(b, s, committers)
			var left atomic.Int64
			left.Store(int64(b.N))
			g := run.NewGroup(b.Context())
			b.ResetTimer()
			for i := range committers {
				g.Go("committer", func(ctx context.Context) error {
					for left.Add(-1) >= 0 {
						batch := accept(heads[i], api.Shard(i))
						if err := s.Commit(ctx, []hub.Batch{batch}); err != nil {
							return err
						}
						heads[i] = batch.Next()
					}
					return nil
				})
			}
			if err := g.Wait(); err != nil {
				b.Fatal(err)
			}
			signals(b, b.N)
		})
	}
	b.Run("merged=64", func(b *testing.B) {
		heads := claimAll(b, s, 64)
		batches := make([]hub.Batch, len(heads))
		for b.Loop() {
			for i := range batches {
				batches[i] = accept(heads[i], api.Shard(i))
				heads[i] = batches[i].Next()
			}
			if err := s.Commit(b.Context(), batches); err != nil {
				b.Fatal(err)
			}
		}
		signals(b, b.N*len(batches))
	})
}

// BenchmarkClaimAllShards is what a replica does when it starts.
func BenchmarkClaimAllShards(b *testing.B) {
	s := open(b, server(b), "/claims/")
	for b.Loop() {
		g := run.NewGroup(b.Context())
		for i := range api.Shards {
			g.Go("claim", func(ctx context.Context) error {
				_, err := s.Claim(ctx, api.Shard(i))
				return err
			})
		}
		if err := g.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}

func claimAll(b *testing.B, s hub.ShardStore, n int) []api.Head {
	heads := make([]api.Head, n)
	for i := range heads {
		var err error
		if heads[i], err = s.Claim(b.Context(), api.Shard(i)); err != nil {
			b.Fatal(err)
		}
	}
	return heads
}

func accept(head api.Head, shard api.Shard) hub.Batch {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	id := api.NewSessionID(at, shard, [10]byte{})
	n := head.Batch + 1
	return hub.Batch{Shard: shard, From: head, Mutations: []hub.Mutation{
		{Org: api.DefaultOrg, PutSession: &api.Session{ID: id, Org: api.DefaultOrg, Agent: "01HZY0000000000000000000AA", AgentName: "agent", Key: "user-1", Intent: api.IntentActive,
			Phase: api.PhasePlacing, CreatedAt: at, LastSequence: n, HubNumber: n}},
		{Org: api.DefaultOrg, PutSignal: &api.Signal{ID: "01HZY0000000000000000000AB", Session: id, Sequence: n, Payload: make([]byte, payload), Sender: "ci", AcceptedAt: at}},
		{Org: api.DefaultOrg, PutOutbox: &hub.OutboxItem{Event: api.Event{Session: id, SourceNumber: n, Type: api.EventAccepted, Time: at, Signals: []uint64{n}}}},
	}}
}

func signals(b *testing.B, n int) {
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "signals/s")
}
