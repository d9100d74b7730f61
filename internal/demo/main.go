// Command demo shows a federation on this machine: a hub and three spokes that pose as clusters of three clouds, agents that do
// real work, what becomes of it when a machine or the hub dies, a permission that a person gives, and the proof that everything
// is where it should be.
//
// The way of a run: [demonstration] starts the programs from bin/ in a fresh data directory; [story] does what a user would do,
// by the nave command, and shows it; [read] takes the logs back through the API; [judge] compares them with what must be true
// and with what the judge counted in the checkout by itself. The exit code is 0 only when every fact holds.
//
// With --external the hub is one as in production: etcd of three members, PostgreSQL and an OpenZiti network run each by
// themselves, [parts], and a configuration file names them. The story, the reading and the judgement are the same. In its
// middle two of the parts are killed, [faults], and the judge asks what became of it.
//
// With --keep the federation stays for play until it is interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/nave-dev/nave/internal/federation"
)

// options are the flags.
type options struct {
	keep     bool
	external bool   // the hub's parts run by themselves, and two are killed
	member   string // the program of an etcd member
	bin      string // folder of the programs
	root     string // checkout that the agents audit and whose examples are applied
	plant    string // a fault to plant, for the test that the demo can fail
	within   time.Duration
}

func main() {
	var o options
	flag.BoolVar(&o.keep, "keep", false, "leave the federation running until interrupted")
	flag.BoolVar(&o.external, "external", false, "run etcd, PostgreSQL and the overlay by themselves, and kill two of them in the middle")
	flag.StringVar(&o.member, "etcd-member", "", "program of an etcd member (default etcd-member in the folder of the programs)")
	flag.StringVar(&o.bin, "bin", "bin", "folder of the programs")
	flag.StringVar(&o.root, "root", ".", "the checkout")
	flag.StringVar(&o.plant, "plant", "", "plant a fault: wrong-cloud")
	flag.DurationVar(&o.within, "within", 3*time.Minute, "give up after this long")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := demo(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo: "+err.Error())
		stop()
		os.Exit(1)
	}
}

func demo(ctx context.Context, o options) (err error) {
	if o.member == "" {
		o.member = filepath.Join(o.bin, "etcd-member")
	}
	for _, p := range []*string{&o.bin, &o.root, &o.member} {
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	// Sockets have short paths, so the data is not in the checkout.
	dir, err := os.MkdirTemp("", "nave-demo-")
	if err != nil {
		return err
	}
	f, err := federation.New(federation.Config{Bin: o.bin, Dir: dir, Show: os.Stdout})
	if err != nil {
		return errors.Join(err, os.Remove(dir))
	}
	d := &demonstration{options: o, Federation: f}
	defer func() {
		// The programs first: a hub ends in order only while its parts are there.
		if err = errors.Join(err, d.faults.close(), f.Stop(), d.parts.close()); err != nil {
			fmt.Printf("\nlogs are kept in %s\n", dir)
			return
		}
		os.RemoveAll(dir)
	}()
	within, cancel := context.WithTimeoutCause(ctx, o.within, fmt.Errorf("not done within %v", o.within))
	defer cancel()
	if err := d.start(within); err != nil {
		return err
	}
	signals, err := d.story(within)
	if err != nil {
		return err
	}
	seen, err := d.read(within, signals)
	if err != nil {
		return err
	}
	want, err := count(o.root)
	if err != nil {
		return err
	}
	facts := append(judge(want, seen), d.faults.judge(seen)...)
	if !d.external {
		facts = append(facts, judgeDeaths(d.deaths.waiting, seen)...)
	}
	facts = append(facts, judgePermission(d.permits, of(seen, "scribe"))...)
	show(facts)
	if n := failed(facts); n > 0 {
		return fmt.Errorf("%d of %d facts do not hold", n, len(facts))
	}
	if o.keep {
		d.play(ctx)
	}
	return nil
}
