package shard

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub/store"
	"github.com/nave-dev/nave/hub/store/embedded"
	"github.com/nave-dev/nave/internal/bench/measure"
)

// Scenario is one shard.
var Scenario = measure.Scenario{
	Name: "shard",
	About: "signals of 600 bytes given to one shard in turns of 32, without network and API: the shard alone, then with the store and etcd in process. " +
		"The floor of the first hashes each and keeps it in a map; that of the second puts the same bytes into the same etcd.",
	Run: measured,
}

const (
	payloadSize = 600
	turn        = 32 // signals
	rounds      = 5
	shard       = api.Shard(7)
	agent       = api.ObjectID("01HZY0000000000000000000AA")
)

func measured(ctx context.Context, b *measure.Bench) error {
	sizes := []int{1, 1000, 100_000}
	if b.Quick {
		sizes = sizes[1:2]
	}
	for _, sessions := range sizes {
		if err := alone(ctx, b, sessions); err != nil {
			return err
		}
	}
	for _, sessions := range sizes {
		if err := stored(ctx, b, sessions); err != nil {
			return err
		}
	}
	return nil
}

// cost is what a round was.
type cost struct {
	signals          int
	elapsed, working time.Duration // working: processor time of this process
	mallocs          uint64
}

func (c cost) rate() float64        { return float64(c.signals) / c.elapsed.Seconds() }
func (c cost) each() float64        { return float64(c.working.Nanoseconds()) / 1000 / float64(c.signals) }
func (c cost) allocations() float64 { return float64(c.mallocs) / float64(c.signals) }

// round calls one turn after another for a time.
func round(during time.Duration, one func() error) (cost, error) {
	runtime.GC() // the garbage of the round before is not this one's
	used, err := measure.ProcessorTime(os.Getpid())
	if err != nil {
		return cost{}, err
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began, n := time.Now(), 0
	for time.Since(began) < during {
		if err := one(); err != nil {
			return cost{}, err
		}
		n += turn
	}
	c := cost{signals: n, elapsed: time.Since(began)}
	runtime.ReadMemStats(&after)
	c.mallocs = after.Mallocs - before.Mallocs
	now, err := measure.ProcessorTime(os.Getpid())
	c.working = now - used
	return c, err
}

// compare lets two take turns, and reports their medians. What is compared between runs is the work; the rate is that of the disk
// too, and of whoever else is on the machine.
func compare(b *measure.Bench, what string, nave, floor func() error) error {
	during := b.Long(time.Second, 300*time.Millisecond)
	var costs [2][]cost
	for range rounds {
		for i, one := range []func() error{floor, nave} {
			c, err := round(during, one)
			if err != nil {
				return err
			}
			costs[i] = append(costs[i], c)
		}
	}
	alone := strings.HasPrefix(what, "shard alone")
	report := func(more, unit string, of func(cost) float64, f measure.Figure) {
		var middle [2]float64
		for i := range costs {
			var v []float64
			for _, c := range costs[i] {
				v = append(v, of(c))
			}
			middle[i] = measure.Median(v)
		}
		f.Name, f.Unit, f.Floor, f.Value = what+more, unit, middle[0], middle[1]
		b.Report(f)
	}
	report("", "/s", cost.rate, measure.Figure{More: true})
	// Alone it is not steady: 5.3 to 7.2 times the floor in four runs. The floor waits for memory more than it computes.
	report(", processor time per signal", "µs", cost.each, measure.Figure{Gate: !alone})
	report(", allocations per signal", "", cost.allocations, measure.Figure{Gate: true})
	return nil
}

func named(what string, sessions int) string {
	if sessions == 1 {
		return what + ", 1 session in memory"
	}
	return fmt.Sprintf("%s, %s sessions in memory", what, measure.Number(float64(sessions)))
}

// alone measures a shard whose store keeps nothing.
func alone(ctx context.Context, b *measure.Bench, sessions int) error {
	d, err := newDriver(ctx, &nowhere{sessions: population(sessions)}, sessions)
	if err != nil {
		return err
	}
	return compare(b, named("shard alone", sessions), d.turn, newKept(sessions).turn)
}

// stored measures a shard with the hub's store.
func stored(ctx context.Context, b *measure.Bench, sessions int) error {
	dir, err := b.Subdir(fmt.Sprintf("etcd-%d", sessions))
	if err != nil {
		return err
	}
	server, err := embedded.Start(ctx, embedded.Config{Dir: filepath.Join(dir, "data"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer server.Close()
	s, err := store.Open(ctx, store.Config{Client: server.Client(), Codec: noCodec{}, MaxOps: embedded.MaxTxnOps, MaxBytes: embedded.MaxRequestBytes})
	if err != nil {
		return err
	}
	d, err := newDriver(ctx, populated{s, population(sessions)}, sessions)
	if err != nil {
		return err
	}
	return compare(b, named("shard with store", sessions), d.turn, (&putter{ctx: ctx, client: server.Client()}).turn)
}
