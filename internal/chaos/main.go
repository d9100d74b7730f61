package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nave-dev/nave/internal/history"
	"github.com/nave-dev/nave/internal/run"
)

// options say how long and how hard a run is, and what it must at least have done.
type options struct {
	bin      string
	seed     uint64
	length   time.Duration // of traffic and storm
	settle   time.Duration // what is pending after it gets so long
	sessions int
	rate     int // signals a second; each is sent twice

	leastSignals int // distinct ones that were accepted
	leastKills   int
	leastEach    int // per target
}

// short is the form of the tests, long the one of people.
func short(seed uint64) options {
	return options{seed: seed, length: 70 * time.Second, settle: 60 * time.Second, sessions: 12, rate: 20, leastSignals: 500, leastKills: 8, leastEach: 1}
}

func long(seed uint64, minutes int) options {
	return options{seed: seed, length: time.Duration(minutes) * time.Minute, settle: 2 * time.Minute, sessions: 50, rate: 20,
		leastSignals: 1000 * minutes, leastKills: 6 * minutes, leastEach: max(1, minutes/2)}
}

func main() {
	if dir := os.Getenv(agentEnv); dir != "" {
		os.Exit(agent(dir))
	}
	bin := flag.String("bin", "bin", "folder of the programs")
	seed := flag.Uint64("seed", 0, "what is killed when; 0 takes one from the clock")
	minutes := flag.Int("minutes", 10, "how long")
	flag.Parse()
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano()) % 1_000_000
	}
	o := long(*seed, *minutes)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if o.bin, err = filepath.Abs(*bin); err == nil {
		err = chaos(ctx, o, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "\nchaos: "+err.Error())
		stop()
		os.Exit(1)
	}
}

// chaos is one run. Its data is kept when it fails.
func chaos(ctx context.Context, o options, show io.Writer) (err error) {
	fmt.Fprintf(show, "seed %d: %v, %d sessions, %d signals/s, each twice\n", o.seed, o.length, o.sessions, o.rate)
	dir, err := os.MkdirTemp("", "nc") // short: sockets are in it
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 3*o.length+4*time.Minute, errors.New("the run does not end"))
	defer cancel()
	f, err := newField(ctx, o.bin, dir, show)
	var in history.Input
	if f != nil {
		var did deeds
		if err == nil {
			in, did, err = weather(ctx, f, o, show)
		}
		if f.client != nil {
			f.client.Close()
		}
		if left := f.Stop(); left != nil {
			in.Running = append(in.Running, left.Error())
		}
		err = errors.Join(err, verdict(in, did, o, show))
	}
	if err != nil {
		return errors.Join(err, fmt.Errorf("seed %d; logs are kept in %s", o.seed, dir))
	}
	return os.RemoveAll(dir)
}

// deeds is what a run did.
type deeds struct {
	count  map[target]int
	took   map[target][]time.Duration
	outage int
}

// weather lets traffic and storm happen, and waits until everything has settled.
func weather(ctx context.Context, f *field, o options, show io.Writer) (history.Input, deeds, error) {
	var down atomic.Int32
	t := &traffic{client: f.client, sessions: o.sessions, rate: o.rate, random: rand.New(rand.NewPCG(o.seed, 1)), down: &down}
	s := &storm{field: f, random: rand.New(rand.NewPCG(o.seed, 2)), down: &down, show: show}
	offering, enough := context.WithCancel(ctx)
	defer enough()
	g := run.NewGroup(ctx)
	g.Go("storm", func(ctx context.Context) error {
		defer enough()
		return s.run(ctx, o.length, o.leastEach, o.leastKills)
	})
	g.Go("traffic", func(ctx context.Context) error { return t.run(ctx, offering) })
	err := g.Wait()
	accepted, outage, retries := t.answers()
	fmt.Fprintf(show, "%d answers, %d calls had to be repeated; settling\n", len(accepted), retries)
	within, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), o.settle, fmt.Errorf("not within %v", o.settle))
	defer cancel()
	begin := time.Now()
	in, serr := f.settle(within, accepted)
	fmt.Fprintf(show, "settled after %v\n", time.Since(begin).Round(time.Millisecond))
	return in, deeds{s.count, s.took, outage}, errors.Join(err, serr)
}

// verdict judges the history, and whether the run did enough.
func verdict(in history.Input, did deeds, o options, show io.Writer) error {
	findings, tally := history.Judge(in)
	kills := 0
	for _, t := range targets() {
		if took := slices.Sorted(slices.Values(did.took[t])); len(took) > 0 {
			fmt.Fprintf(show, "%-16s %3d times, recovered in %v to %v (median)  %v at most\n", t, did.count[t],
				took[0].Round(time.Millisecond), took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
		}
		if t.kills() {
			kills += did.count[t]
		}
	}
	fmt.Fprintf(show, "%+v, accepted during an outage: %d, kills: %d\n", tally, did.outage, kills)
	var errs []error
	for i, f := range findings {
		if i == 40 {
			errs = append(errs, fmt.Errorf("and %d more", len(findings)-i))
			break
		}
		errs = append(errs, errors.New(f.String()))
	}
	least := func(what string, n, want int) {
		if n < want {
			errs = append(errs, fmt.Errorf("the run did too little: %s: %d, want at least %d", what, n, want))
		}
	}
	least("distinct signals accepted", tally.Signals, o.leastSignals)
	least("kills", kills, o.leastKills)
	for _, t := range targets() {
		least(string(t), did.count[t], o.leastEach)
	}
	least("signals that were handed out again", tally.Redone, 1)
	least("signals accepted during an outage", did.outage, 1)
	return errors.Join(errs...)
}
