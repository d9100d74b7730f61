package archive_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/archive"
)

// BenchmarkAppend appends batches of 25 events of one session each, round robin over 1,000 sessions, beside the floor: the
// same bytes appended to a file with one sync per batch.
func BenchmarkAppend(b *testing.B) {
	const sessions, batch = 1000, 25
	text := strings.Repeat("x", 300)
	b.Run("floor", func(b *testing.B) {
		f, err := os.Create(filepath.Join(b.TempDir(), "floor"))
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		block := []byte(strings.Repeat(text, batch))
		for b.Loop() {
			if _, err := f.Write(block); err != nil {
				b.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
		}
		rate(b, batch)
	})
	b.Run("sqlite", func(b *testing.B) {
		a := open(b, archive.Config{File: filepath.Join(b.TempDir(), "a.db")})
		defer func() { _ = a.Close() }()
		began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		gen := api.Generation{Incarnation: 1, N: 1}
		for s := range api.Shards {
			if err := a.Raise(b.Context(), api.Shard(s), gen); err != nil {
				b.Fatal(err)
			}
		}
		var ids [sessions]api.SessionID
		for i := range ids {
			ids[i] = api.NewSessionID(began, api.Shard(i%api.Shards), [10]byte{8: byte(i >> 8), 9: byte(i)})
		}
		source := api.Source{Epoch: api.Epoch{Incarnation: 1, N: 1}, Attempt: 1}
		var last [sessions]uint64
		n := 0
		for b.Loop() {
			s := n % sessions
			n++
			events := make([]api.Event, batch)
			for i := range events {
				last[s]++
				events[i] = api.Event{Session: ids[s], Number: last[s], Source: source, SourceNumber: last[s], Type: api.EventMessage, Time: began, Cluster: "01HZY0000000000000000000AA", Text: text}
			}
			err := a.Append(b.Context(), []hub.Append{{Shard: api.Shard(s % api.Shards), Generation: gen, Org: api.DefaultOrg, Events: events}})
			if err != nil {
				b.Fatal(err)
			}
		}
		rate(b, batch)
	})
}

func rate(b *testing.B, batch int) {
	b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "rows/s")
}
