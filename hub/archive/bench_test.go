package archive_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/archive"
)

// load is a form of appending: how many sessions there are, and of how many of them a transaction has how many events.
type load struct {
	name                    string
	sessions, writing, each int
	text                    int  // bytes of each event's text
	accepted                bool // events of the hub's own, as acceptance makes them
}

var loads = []load{
	{"accepting-64x1", 1000, 64, 1, 0, true},
	{"accepting-8x1", 1000, 8, 1, 0, true},
	{"flat-out-4x250-160B", 4, 4, 250, 160, false},
	{"flat-out-4x250-4KiB", 4, 4, 250, 4096, false},
	{"one-by-one-10x5-160B", 10, 10, 5, 160, false},
	{"many-40x25-160B", 1000, 40, 25, 160, false},
}

// BenchmarkAppend appends what a hub appends, beside the floor: the same bytes appended to a file with one sync for each
// transaction. Processor time is that of the whole process.
func BenchmarkAppend(b *testing.B) {
	for _, l := range loads {
		b.Run("floor/"+l.name, func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), "floor"))
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			block := []byte(strings.Repeat("x", l.writing*l.each*max(l.text, 100)))
			measure(b, l, func() []byte { return block }, func(block []byte) error {
				if _, err := f.Write(block); err != nil {
					return err
				}
				return f.Sync()
			})
		})
		b.Run("sqlite/"+l.name, func(b *testing.B) {
			benchmarkAppend(b, l, archive.Config{File: filepath.Join(b.TempDir(), "a.db")})
		})
	}
}

func benchmarkAppend(b *testing.B, l load, cfg archive.Config) {
	a := open(b, cfg)
	defer func() { _ = a.Close() }()
	w := newWorld(b, a, l)
	measure(b, l, w.next, func(appends []hub.Append) error { return a.Append(b.Context(), appends) })
}

// measure repeats a transaction and reports its times per event, without what making the events takes.
func measure[T any](b *testing.B, l load, prepare func() T, transaction func(T) error) {
	var processor, passed time.Duration
	for b.Loop() {
		t := prepare()
		before, began := used(b), time.Now()
		if err := transaction(t); err != nil {
			b.Fatal(err)
		}
		processor, passed = processor+used(b)-before, passed+time.Since(began)
	}
	events := float64(b.N * l.writing * l.each)
	b.ReportMetric(float64(processor.Nanoseconds())/1000/events, "cpu-µs/event")
	b.ReportMetric(float64(passed.Nanoseconds())/1000/events, "µs/event")
}

// used is the processor time of this process.
func used(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// world makes appends that continue each other.
type world struct {
	l      load
	gen    api.Generation
	began  time.Time
	ids    []api.SessionID
	shards []api.Shard
	last   []uint64
	text   string
	random *rand.Rand
}

func newWorld(b *testing.B, a *archive.Archive, l load) *world {
	w := &world{l: l, gen: api.Generation{Incarnation: 1, N: 1}, began: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), last: make([]uint64, l.sessions),
		text: strings.Repeat("x", l.text), random: rand.New(rand.NewPCG(1, 2))}
	for s := range api.Shards {
		if err := a.Raise(b.Context(), api.Shard(s), w.gen); err != nil {
			b.Fatal(err)
		}
	}
	for i := range l.sessions {
		shard := api.Shard(i * 37 % api.Shards)
		w.shards = append(w.shards, shard)
		w.ids = append(w.ids, api.NewSessionID(w.began, shard, [10]byte{8: byte(i >> 8), 9: byte(i)}))
	}
	return w
}

// next is what the hub hands over in one transaction: an append for each shard, events one session after the other.
func (w *world) next() []hub.Append {
	var (
		out []hub.Append
		at  = map[api.Shard]int{}
	)
	for _, s := range w.random.Perm(w.l.sessions)[:w.l.writing] {
		i, ok := at[w.shards[s]]
		if !ok {
			i = len(out)
			at[w.shards[s]] = i
			out = append(out, hub.Append{Shard: w.shards[s], Generation: w.gen, Org: api.DefaultOrg})
		}
		for range w.l.each {
			w.last[s]++
			e := api.Event{Session: w.ids[s], Number: w.last[s], SourceNumber: w.last[s], Source: api.Source{Epoch: api.Epoch{Incarnation: 1, N: 1}, Attempt: 1},
				Type: api.EventMessage, Time: w.began.Add(time.Duration(w.last[s]) * time.Millisecond), Cluster: "01HZY0000000000000000000AA", Text: w.text}
			if w.l.accepted {
				e.Source, e.Type, e.Cluster, e.Signals = api.HubSource, api.EventAccepted, "", []uint64{w.last[s]}
				e.Attributes = map[string]string{"id": fmt.Sprintf("01HZY0000000000000%08d", w.last[s])}
			}
			out[i].Events = append(out[i].Events, e)
		}
	}
	return out
}
