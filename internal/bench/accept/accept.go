package accept

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nave-dev/nave/internal/bench/floor"
	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/internal/federation"
	"github.com/nave-dev/nave/internal/run"
)

// Scenario is accepting signals.
var Scenario = measure.Scenario{
	Name: "accept",
	About: "signals of 600 bytes with an idempotency key, over TLS, until they are durable in the hub's etcd. The floor is a gRPC server " +
		"that puts the same bytes into an etcd, in transactions that compare and set one head.",
	Run: measured,
}

var discard = io.Discard

// world is the programs of a run.
type world struct {
	b     *measure.Bench
	f     *federation.Federation
	close []func() error
}

// pair is a hub and the floor for the same store.
type pair struct {
	nave, floor *target
}

func measured(ctx context.Context, b *measure.Bench) error {
	f, err := federation.New(federation.Config{Bin: b.Bin, Dir: b.Dir})
	if err != nil {
		return err
	}
	w := &world{b: b, f: f}
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{{"own", w.inProcess}, {"slow", w.slowDisk}, {"members", w.members}} {
		if b.Skips(part.name) || b.Quick && part.name != "own" {
			continue
		}
		if err := errors.Join(part.run(ctx), w.stop()); err != nil { // the machine is for the next ones
			return err
		}
	}
	return nil
}

// slowDisk measures hub and floor with a disk whose syncs take 2 ms longer.
func (w *world) slowDisk(ctx context.Context) error {
	p, err := w.start(ctx, "slow", "", nil, w.b.Self, floor.Command, "slowdisk", "2ms")
	if err != nil {
		return err
	}
	const where = ", syncs 2 ms slower"
	if err := w.open(ctx, p, where, rate{1000, 4 * time.Millisecond, 7 * time.Millisecond}); err != nil {
		return err
	}
	return w.saturate(ctx, p, where, load{clients: 64, plain: true})
}

func (w *world) stop() error {
	var errs []error
	for i := len(w.close) - 1; i >= 0; i-- {
		errs = append(errs, w.close[i]())
	}
	w.close = nil
	return errors.Join(append(errs, w.f.Stop())...)
}

// inProcess measures the hub with its own etcd.
func (w *world) inProcess(ctx context.Context) error {
	p, err := w.start(ctx, "hub", "", nil)
	if err != nil {
		return err
	}
	rates := []rate{{500, 0, 0}, {1000, time.Millisecond, 4 * time.Millisecond}, {2000, 0, 0}}
	loads := []load{{clients: 1}, {clients: 8}, {clients: 64, target: 10_000}, {clients: 64, many: 1}, {clients: 64, many: 10}, {clients: 64, many: 100, target: 25_000}}
	if w.b.Quick {
		rates, loads = rates[1:2], []load{loads[2], loads[5]}
	}
	for _, r := range rates {
		if err := w.open(ctx, p, "", r); err != nil {
			return err
		}
	}
	for _, l := range loads {
		if err := w.saturate(ctx, p, "", l); err != nil {
			return err
		}
	}
	return nil
}

// start starts a hub and a floor, and warms both up.
func (w *world) start(ctx context.Context, name, more string, floorArgs []string, wrap ...string) (p pair, err error) {
	if p.floor, err = w.startFloor(ctx, name+"-floor", floorArgs, wrap...); err != nil {
		return p, err
	}
	if p.nave, err = w.startHub(ctx, name, more, wrap...); err != nil {
		return p, err
	}
	for _, t := range []*target{p.floor, p.nave} {
		r, err := t.closed(ctx, load{clients: 64}, w.b.Long(time.Second, 500*time.Millisecond))
		if err := errors.Join(err, r.Good()); err != nil {
			return p, err
		}
	}
	return p, nil
}

// rounds is how often floor and hub take turns for one figure.
func (w *world) rounds() int { return w.b.Many(4, 3) }

// rate is an open-loop load with what is to be reached.
type rate struct {
	perSecond float64
	p50, p99  time.Duration
}

// open measures latencies at a steady rate.
func (w *world) open(ctx context.Context, p pair, where string, r rate) error {
	during := w.b.Long(1200*time.Millisecond, 350*time.Millisecond)
	var bare, nave measure.Samples
	for range w.rounds() {
		for t, into := range turns(p, &bare, &nave) {
			first := t.last
			res, err := w.b.OpenLoop(ctx, r.perSecond, during, func(ctx context.Context, n int) error { return t.put(ctx, n, first+n, 0) })
			if err := errors.Join(err, res.Good()); err != nil {
				return err
			}
			t.last += int(r.perSecond * during.Seconds())
			*into = append(*into, res.Samples...)
		}
	}
	w.b.Latency(fmt.Sprintf("one a call%s, %s/s", where, measure.Number(r.perSecond)), nave, bare, r.p50, r.p99, false)
	return nil
}

// load is clients that call one after another.
type load struct {
	clients int
	many    int     // signals a call; 0: one, by the unary method
	target  float64 // signals per second
	plain   bool    // processor time is not looked at
}

func (l load) name(where string) string {
	what := "one a call"
	if l.many > 0 {
		what = fmt.Sprintf("lists of %d", l.many)
	}
	s := "s"
	if l.clients == 1 {
		s = ""
	}
	return fmt.Sprintf("%s%s, %d client%s at saturation", what, where, l.clients, s)
}

// saturate measures what is taken. What is compared between runs is what a signal costs the server. The rate is not: clients and
// server share the processors, so that it falls in other proportions than the floor's when somebody else works too.
func (w *world) saturate(ctx context.Context, p pair, where string, l load) error {
	during := w.b.Long(time.Second, 350*time.Millisecond)
	var bare, nave []taken
	for i := range w.rounds() {
		g := run.NewGroup(ctx)
		for t, into := range turns(p, &bare, &nave) {
			if t == p.nave && i == w.rounds()-1 && l.clients == 64 {
				g.Go("profile", func(ctx context.Context) error {
					return w.b.Profile(ctx, fmt.Sprintf("accept%s-%d-%d", strings.ReplaceAll(where, " ", ""), l.clients, l.many), t.profiling, during)
				})
			}
			one, err := t.taken(ctx, l, during)
			if err != nil {
				return errors.Join(err, g.Wait())
			}
			*into = append(*into, one)
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	report := func(more, unit string, of func(taken) float64, f measure.Figure) {
		f.Name, f.Unit, f.Value, f.Floor = l.name(where)+more, unit, median(nave, of), median(bare, of)
		w.b.Report(f)
	}
	report("", "/s", taken.rate, measure.Figure{Target: l.target, More: true})
	if l.clients == 64 && !l.plain {
		// Of lists it is not steady: 5.5 to 7.7 times the floor in four runs, by how many lists come together in a transaction.
		report(", processor time of the server per signal", "µs", taken.each, measure.Figure{Gate: l.many == 0})
		report(", allocated by the server per signal", "B", taken.bytes, measure.Figure{Gate: true})
	}
	if p.nave.store != nil {
		report(", processor time of the members per signal", "µs", taken.eachOfStore, measure.Figure{})
		report(", transactions per signal", "", taken.transactions, measure.Figure{})
	}
	return nil
}

// taken is what a target took in a round.
type taken struct {
	signals          int
	elapsed, working time.Duration // working: processor time of the target
	allocated        float64       // bytes, by the target
	store            storeUse      // of the etcd, if the target has one of its own
}

func (t taken) rate() float64  { return float64(t.signals) / t.elapsed.Seconds() }
func (t taken) each() float64  { return float64(t.working.Microseconds()) / float64(t.signals) }
func (t taken) bytes() float64 { return t.allocated / float64(t.signals) }

func (t taken) eachOfStore() float64  { return t.store.seconds * 1e6 / float64(t.signals) }
func (t taken) transactions() float64 { return t.store.transactions / float64(t.signals) }

func median(rounds []taken, of func(taken) float64) float64 {
	var v []float64
	for _, r := range rounds {
		v = append(v, of(r))
	}
	return measure.Median(v)
}

// taken lets clients call one after another, and counts signals and what they cost the target.
func (t *target) taken(ctx context.Context, l load, during time.Duration) (taken, error) {
	if l.plain { // the process is what holds the syncs
		res, err := t.closed(ctx, l, during)
		return taken{signals: len(res.Samples) * max(1, l.many), elapsed: res.Elapsed}, errors.Join(err, res.Good())
	}
	had, err := measure.CountsOf(ctx, t.profiling, false)
	if err != nil {
		return taken{}, err
	}
	kept, err := t.use(ctx)
	if err != nil {
		return taken{}, err
	}
	before, err := measure.ProcessorTime(t.process)
	if err != nil {
		return taken{}, err
	}
	res, err := t.closed(ctx, l, during)
	if err := errors.Join(err, res.Good()); err != nil {
		return taken{}, err
	}
	after, err := measure.ProcessorTime(t.process)
	if err != nil {
		return taken{}, err
	}
	keeps, err := t.use(ctx)
	if err != nil {
		return taken{}, err
	}
	has, err := measure.CountsOf(ctx, t.profiling, false)
	return taken{len(res.Samples) * max(1, l.many), res.Elapsed, after - before, has.Bytes - had.Bytes,
		storeUse{keeps.seconds - kept.seconds, keeps.transactions - kept.transactions}}, err
}

// closed lets clients call one after another.
func (t *target) closed(ctx context.Context, l load, during time.Duration) (measure.Result, error) {
	var next atomic.Int64
	next.Store(int64(t.last))
	step := max(1, l.many)
	res, err := measure.ClosedLoop(ctx, l.clients, during, func(ctx context.Context, client, _ int) error {
		return t.put(ctx, client, int(next.Add(int64(step)))-step, l.many)
	})
	t.last = int(next.Load())
	return res, err
}

// turns yields the floor and then the hub, with where their results go.
func turns[R any](p pair, floor, nave R) iter.Seq2[*target, R] {
	return func(yield func(*target, R) bool) {
		_ = yield(p.floor, floor) && yield(p.nave, nave)
	}
}
