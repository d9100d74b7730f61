package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/internal/federation"
	"github.com/nave-dev/nave/internal/history"
)

// target is a kind of process that a fault hits.
type target string

// The targets.
const (
	killHub        target = "kill hub"
	killSpoke      target = "kill spoke"
	killHarness    target = "kill harness"
	killAgent      target = "kill agent"
	killRouter1    target = "kill router 1"
	killRouter2    target = "kill router 2"
	killController target = "kill controller"
	stopHub        target = "freeze hub"
	stopSpoke      target = "freeze spoke"
	stopHarness    target = "freeze harness"
)

// targets lists all of them.
func targets() []target {
	return []target{killHub, killSpoke, killHarness, killAgent, killRouter1, killRouter2, killController, stopHub, stopSpoke, stopHarness}
}

func (t target) kills() bool  { return strings.HasPrefix(string(t), "kill ") }
func (t target) router() bool { return t == killRouter1 || t == killRouter2 }

// Times of the storm.
const (
	betweenRouters = 35 * time.Second // two routers are never away together: a spoke needs one
	recoverWithin  = 60 * time.Second
)

// storm plants faults one after another and waits until the federation has recovered from each.
type storm struct {
	*field
	random *rand.Rand
	down   *atomic.Int32
	show   io.Writer
	began  time.Time

	count  map[target]int
	took   map[target][]time.Duration
	router time.Time // when the last one was killed
}

// run plants faults until the time is over and every target was hit as often as it must be. It goes through the targets in a
// random order, round by round, so that none is left out.
func (s *storm) run(ctx context.Context, length time.Duration, each, kills int) error {
	s.count, s.took = map[target]int{}, map[target][]time.Duration{}
	s.began = time.Now()
	for round := 1; ; round++ {
		rest := targets()
		s.random.Shuffle(len(rest), func(i, k int) { rest[i], rest[k] = rest[k], rest[i] })
		for len(rest) > 0 {
			if time.Since(s.began) >= length && s.enough(each, kills) {
				return nil
			}
			i := slices.IndexFunc(rest, func(t target) bool { return !t.router() || time.Since(s.router) >= betweenRouters })
			if i < 0 { // only a router is left and it is too early
				if !pause(ctx, time.Second) {
					return context.Cause(ctx)
				}
				continue
			}
			t := rest[i]
			rest = slices.Delete(rest, i, i+1)
			if err := s.plant(ctx, t); err != nil {
				return fmt.Errorf("%s: %w", t, err)
			}
			if !pause(ctx, time.Duration(500+s.random.IntN(2500))*time.Millisecond) {
				return context.Cause(ctx)
			}
		}
	}
}

func (s *storm) enough(each, kills int) bool {
	n := 0
	for _, t := range targets() {
		if s.count[t] < each {
			return false
		}
		if t.kills() {
			n += s.count[t]
		}
	}
	return n >= kills
}

// plant plants one fault and waits until the federation is whole again.
func (s *storm) plant(ctx context.Context, t target) error {
	s.down.Add(1)
	defer s.down.Add(-1)
	ctx, cancel := context.WithTimeoutCause(ctx, recoverWithin, fmt.Errorf("not recovered within %v", recoverWithin))
	defer cancel()
	begin := time.Now()
	what, err := s.fault(ctx, t)
	if err != nil {
		return err
	}
	if what == "" {
		return nil // nothing of the kind runs now; it comes again in the next round
	}
	if err := s.live(ctx, spokes...); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if _, err := s.sessions(ctx); err != nil {
		return fmt.Errorf("%s: the hub does not answer: %w", what, err)
	}
	took := time.Since(begin)
	s.count[t]++
	s.took[t] = append(s.took[t], took)
	if t.router() {
		s.router = begin
	}
	fmt.Fprintf(s.show, "%6.1fs  %-30s recovered in %v\n", time.Since(s.began).Seconds(), what, took.Round(time.Millisecond))
	return nil
}

// fault hits a target and brings back what nobody else would. It says what it hit; nothing when there is none.
func (s *storm) fault(ctx context.Context, t target) (string, error) {
	switch t {
	case killHub:
		s.hub.Kill()
		var err error
		s.hub, err = s.startHub(ctx)
		return string(t), err
	case killSpoke:
		name := spokes[s.random.IntN(len(spokes))]
		heard := time.Now()
		s.spokes[name].Kill()
		if !pause(ctx, time.Duration(s.random.IntN(1500))*time.Millisecond) { // as a cluster takes to start it again
			return "", context.Cause(ctx)
		}
		if err := s.startSpoke(name); err != nil {
			return "", err
		}
		return string(t) + " " + name, s.heard(ctx, name, heard)
	case killHarness, killAgent, stopHarness:
		return s.workload(ctx, t)
	case killRouter1, killRouter2, killController:
		return s.overlay(ctx, t)
	case stopHub:
		d := time.Duration(1000+s.random.IntN(2000)) * time.Millisecond
		return fmt.Sprintf("%s for %v", t, d), freeze(ctx, s.hub.ID(), d)
	case stopSpoke:
		name := spokes[s.random.IntN(len(spokes))]
		d := time.Duration(1000+s.random.IntN(3000)) * time.Millisecond
		begin := time.Now()
		if err := freeze(ctx, s.spokes[name].ID(), d); err != nil {
			return "", err
		}
		return fmt.Sprintf("%s %s for %v", t, name, d), s.heard(ctx, name, begin.Add(d))
	}
	panic("no such target")
}

// heard waits until the hub has heard of a cluster after a time.
func (s *storm) heard(ctx context.Context, name string, after time.Time) error {
	return s.Await(ctx, "cluster "+name+" heard again", func() (bool, error) {
		c, err := s.client.Clusters.Get(ctx, &navev1.GetRequest{Name: name})
		return err == nil && c.GetStatus().GetHeardAt().AsTime().After(after), err
	})
}

// freeze stops a process for a while.
func freeze(ctx context.Context, pid int, d time.Duration) error {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return err
	}
	pause(ctx, d)
	return syscall.Kill(pid, syscall.SIGCONT)
}

// workload hits a harness or an agent that acts now, and waits until its session goes on.
func (s *storm) workload(ctx context.Context, t target) (string, error) {
	var found []federation.Proc
	for _, p := range federation.Naming(s.witness) { // the agent's environment names it, the harness's file does not
		if len(p.Args) > 0 && filepath.Base(p.Args[0]) != "nave-harness" {
			found = append(found, p)
		}
	}
	if len(found) == 0 {
		return "", nil
	}
	agent := found[s.random.IntN(len(found))]
	id, err := s.sessionOf(agent)
	if err != nil {
		return "", nil // it has ended meanwhile
	}
	before, err := s.lines(id)
	if err != nil {
		return "", err
	}
	what := fmt.Sprintf("%s of ...%s", t, id[len(id)-6:])
	switch t {
	case killAgent:
		agent.Kill()
	case killHarness:
		harness, ok := federation.Find(agent.Parent)
		if !ok {
			return "", nil
		}
		harness.Kill()
	case stopHarness:
		harness, ok := federation.Find(agent.Parent)
		if !ok || filepath.Base(harness.Args[0]) != "nave-harness" {
			return "", nil
		}
		d := time.Duration(1000+s.random.IntN(7000)) * time.Millisecond
		what = fmt.Sprintf("%s for %v", what, d)
		if err := freeze(ctx, harness.ID, d); err != nil {
			return "", nil
		}
	}
	return what, s.Await(ctx, "the session goes on", func() (bool, error) {
		now, err := s.lines(id)
		if err != nil || now > before {
			return now > before, err
		}
		v, err := s.client.Sessions.Get(ctx, &navev1.GetSessionRequest{Id: string(id)})
		return err == nil && v.GetPending() == v.GetConsumed(), err
	})
}

// sessionOf reads an agent's session from its environment.
func (s *storm) sessionOf(p federation.Proc) (api.SessionID, error) {
	env, err := p.Env()
	if err != nil {
		return "", err
	}
	id, _, _, err := history.ParseWorkload(env["NAVE_WORKLOAD"])
	return id, err
}

// lines counts what agents of a session wrote down.
func (s *storm) lines(id api.SessionID) (int, error) {
	all, err := s.witnesses()
	n := 0
	for _, w := range all {
		if w.Session == id {
			n++
		}
	}
	return n, err
}

// overlay kills a process of the overlay, which the hub starts again, and waits until it is there.
func (s *storm) overlay(ctx context.Context, t target) (string, error) {
	role := strings.TrimPrefix(string(t), "kill ")
	find := func() (federation.Proc, bool) {
		n := 0
		for _, p := range federation.Naming(s.Path("hub", "overlay")) {
			if filepath.Base(p.Args[0]) != "nave-overlay" || len(p.Args) < 2 {
				continue
			}
			if p.Args[1] == "controller" {
				if t == killController {
					return p, true
				}
				continue
			}
			if n++; n == 1 && t == killRouter1 || n == 2 && t == killRouter2 {
				return p, true
			}
		}
		return federation.Proc{}, false
	}
	p, ok := find()
	if !ok {
		return "", nil
	}
	if t.router() {
		s.router = time.Now()
	}
	p.Kill()
	return "kill " + role, s.Await(ctx, role+" is there again", func() (bool, error) {
		all := 0
		for _, q := range federation.Naming(s.Path("hub", "overlay")) {
			if filepath.Base(q.Args[0]) == "nave-overlay" && len(q.Args) > 1 && q.ID != p.ID {
				all++
			}
		}
		return all >= 3, nil
	})
}
