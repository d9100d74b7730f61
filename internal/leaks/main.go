package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options say how much is done.
type options struct {
	bin     string
	n       int // reconnects, and sessions
	kills   int // of a real spoke
	routers int // kills of routers, one after the other
	warm    int // reconnects and sessions of each warm-up
	at      int // sessions at a time
	settle  time.Duration
	plant   string
	keep    string // folder for heap profiles
}

// plants are the leaks that can be planted.
var plants = []string{"goroutines", "memory", "sessions", "files"}

// parts is in how many parts the load comes. After each one everything is counted.
const parts = 3

func (o options) check() error {
	switch {
	case o.n < 10 || o.kills < 0 || o.routers < 0 || o.warm < 1 || o.at < 1:
		return errors.New("want --n of 10 or more, --kills and --routers of 0 or more, --warm and --at of 1 or more")
	case o.plant != "" && !slices.Contains(plants, o.plant):
		return fmt.Errorf("--plant %q: want one of %s", o.plant, strings.Join(plants, ", "))
	}
	return nil
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "folder of the programs")
	flag.IntVar(&o.n, "n", 1000, "how many times the link is cut, and how many sessions are started and ended")
	flag.IntVar(&o.kills, "kills", -1, "how many times a real spoke is killed and started (default: one for 50 of --n)")
	flag.IntVar(&o.routers, "routers", -1, "how many times a router of the overlay is killed (default: one for 100 of --n)")
	flag.IntVar(&o.warm, "warm", 0, "links and sessions of a warm-up (default: one for 20 of --n, at least 20)")
	flag.IntVar(&o.at, "at", 12, "sessions at a time")
	flag.DurationVar(&o.settle, "settle", 2*time.Minute, "how long after the load everything may take to be as before")
	flag.StringVar(&o.plant, "plant", "", "a leak that the run is to find: "+strings.Join(plants, ", "))
	flag.StringVar(&o.keep, "profiles", "", "folder in which heap profiles of hub and spoke are kept, before and after")
	flag.Parse()
	if o.warm == 0 {
		o.warm = max(20, o.n/20)
	}
	if o.kills < 0 {
		o.kills = o.n / 50
	}
	if o.routers < 0 {
		o.routers = o.n / 100
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := o.check()
	if err == nil {
		o.bin, err = filepath.Abs(o.bin)
	}
	if err == nil {
		err = leaks(ctx, o, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "\nleaks: "+err.Error())
		stop()
		os.Exit(1)
	}
}

// leaks is one run. Its data is kept when it fails.
func leaks(ctx context.Context, o options, show io.Writer) error {
	dir, err := os.MkdirTemp("", "nl") // short: sockets are in it
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 5*time.Minute+time.Duration(o.n)*3*time.Second, errors.New("the run does not end"))
	defer cancel()
	w, err := newWorld(ctx, o, dir, show)
	if w != nil {
		if err == nil {
			err = w.run(ctx)
		}
		w.close()
		err = errors.Join(err, w.Stop())
	}
	if err != nil {
		return errors.Join(err, fmt.Errorf("logs are kept in %s", dir))
	}
	return os.RemoveAll(dir)
}

// run warms up, counts, loads, and counts again.
func (w *world) run(ctx context.Context) error {
	o, keysBefore, keysAfter := w.o, newTable(), newTable()
	if err := w.step(ctx, "warm-up", func() error { return w.load(ctx, o.warm, min(1, o.kills), min(1, o.routers), "") }); err != nil {
		return err
	}
	if err := w.step(ctx, "keys of the hub's store", func() error { return w.keys(ctx, keysBefore) }); err != nil {
		return err
	}
	if err := w.up(ctx); err != nil {
		return err
	}
	if err := w.step(ctx, "second warm-up", func() error { return w.load(ctx, o.warm, 0, min(1, o.routers), "") }); err != nil {
		return err
	}
	before, err := w.rested(ctx, false)
	if err != nil {
		return err
	}
	if err := w.profiles(ctx, "before"); err != nil {
		return err
	}
	looks := []*table{before}
	for i := range parts {
		part := func(n int) int { return n*(i+1)/parts - n*i/parts }
		if err := w.load(ctx, part(o.n), part(o.kills), part(o.routers), o.plant); err != nil {
			return err
		}
		if i == parts-1 {
			break
		}
		look, err := w.rested(ctx, true)
		if err != nil {
			return err
		}
		looks = append(looks, look)
	}
	begin := time.Now()
	lines, after, err := w.settle(ctx, looks)
	if err != nil {
		return err
	}
	if err := w.profiles(ctx, "after"); err != nil {
		return err
	}
	fmt.Fprintf(w.show, "settled for %v\n", time.Since(begin).Round(100*time.Millisecond))
	if err := w.step(ctx, "keys of the hub's store", func() error { return w.keys(ctx, keysAfter) }); err != nil {
		return err
	}
	lines = append(lines, keysAfter.compare(keysBefore, o.n)...)
	fmt.Fprintf(w.show, "\n%d reconnects, %d kills of a spoke, %d of a router, %d sessions\n\n", o.n, o.kills, o.routers, o.n)
	show(w.show, lines, o.n)
	return verdict(w.show, lines, before, after)
}

// verdict is an error when something grew.
func verdict(out io.Writer, lines []line, before, after *table) error {
	bad := grown(lines)
	var names []string
	for _, l := range bad {
		names = append(names, l.name)
		program, isGoroutines := strings.CutSuffix(l.name, ": goroutines")
		if !isGoroutines {
			continue
		}
		fmt.Fprintf(out, "\nmore goroutines of %s than before:\n", program)
		for _, s := range after.stacks[program].more(before.stacks[program]) {
			fmt.Fprintln(out, "  "+s)
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("%d of %d figures grow: %s", len(bad), len(lines), strings.Join(names, "; "))
	}
	fmt.Fprintf(out, "\nnothing grows: %d figures are within their bounds\n", len(lines))
	return nil
}
