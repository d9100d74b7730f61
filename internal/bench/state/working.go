package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/internal/bench/measure"
	bench "github.com/nave-dev/nave/internal/bench/rig"
	"github.com/nave-dev/nave/internal/federation"
	"github.com/nave-dev/nave/internal/run"
)

// workers are the sessions of the spoke that is killed while they work.
const workers = 10

// workingDocuments define an agent whose turn goes on and says something every tenth of a second.
const workingDocuments = `{"apiVersion":"nave.dev/v1","kind":"Environment","metadata":{"name":"work"},"spec":{"flavor":"work"}}
---
{"apiVersion":"nave.dev/v1","kind":"Agent","metadata":{"name":"worker"},"spec":{"environment":"work","harness":{"protocol":"command","command":["/bin/sh","-c","while sleep 0.1; do echo still here; done"]}}}
`

// working kills a spoke whose sessions are in the middle of their turns, and waits until the next one has adopted all of them:
// what their agents say comes through again.
func (r *rig) working(ctx context.Context) (err error) {
	const name = "works"
	defer func() { err = errors.Join(err, endAll(r.Path(name))) }() // workloads outlive their spoke
	if err := os.WriteFile(r.Path("worker.yaml"), []byte(workingDocuments), 0o600); err != nil {
		return err
	}
	if _, err := r.Quiet(ctx, "apply", "-f", r.Path("worker.yaml")); err != nil {
		return err
	}
	if err := r.Join(ctx, name); err != nil {
		return err
	}
	offer := fmt.Sprintf("work=%d", workers)
	p, _, err := r.startSpoke(ctx, name, offer)
	if err != nil {
		return err
	}
	defer func() {
		if p != nil {
			p.Kill()
		}
	}()
	logs := map[string]uint64{} // the last number that was seen, by session
	for i := range workers {
		a, err := r.sessions.Signal(ctx, &navev1.SignalRequest{Agent: "worker", Key: fmt.Sprintf("w%d", i), Payload: payload})
		if err != nil {
			return err
		}
		logs[a.GetSessionId()] = 0
	}
	if err := r.heard(ctx, logs, "still here"); err != nil {
		return err
	}
	before, err := harnesses(r.Path(name))
	if err != nil {
		return err
	}
	var ready, adopted []float64
	for range rounds {
		p.Kill()
		if err := bench.Pause(ctx, 300*time.Millisecond); err != nil { // what was on its way arrives
			return err
		}
		if err := r.read(ctx, logs); err != nil {
			return err
		}
		began := time.Now()
		var again cost
		if p, again, err = r.startSpoke(ctx, name, offer); err != nil {
			return err
		}
		if err := r.heard(ctx, logs, "still here"); err != nil {
			return err
		}
		ready, adopted = append(ready, again.took.Seconds()), append(adopted, time.Since(began).Seconds())
		m, err := metricsOf(ctx, p.metrics)
		if n := m["nave_spoke_attempts_total"]; err != nil || n != 0 {
			return fmt.Errorf("%v workloads were begun anew: %w", n, err)
		}
	}
	after, err := harnesses(r.Path(name))
	if err != nil {
		return err
	}
	if !maps.Equal(before, after) {
		return fmt.Errorf("the harnesses are others: %v before, %v after", before, after)
	}
	of := fmt.Sprintf(" with %d sessions in the middle of a turn", workers)
	r.b.Report(measure.Figure{Name: "spoke ready, linked" + of, Unit: "s", Value: measure.Median(ready)})
	r.b.Report(measure.Figure{Name: "all adopted, and heard by a reader" + of, Unit: "s", Value: measure.Median(adopted)})
	return nil
}

// read goes on in the logs up to their ends.
func (r *rig) read(ctx context.Context, logs map[string]uint64) error {
	for id, last := range logs {
		events, err := r.sessions.Events(ctx, &navev1.EventsRequest{SessionId: id, From: last + 1})
		if err != nil {
			return err
		}
		for {
			e, err := events.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
			logs[id] = e.GetNumber()
		}
	}
	return nil
}

// heard waits until each of the agents has said something that is behind what was read.
func (r *rig) heard(ctx context.Context, logs map[string]uint64, text string) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	g := run.NewGroup(ctx)
	for id, last := range logs {
		g.Go("log", func(ctx context.Context) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			events, err := r.sessions.Events(ctx, &navev1.EventsRequest{SessionId: id, From: last + 1, Follow: true})
			for err == nil {
				var e *navev1.Event
				if e, err = events.Recv(); err == nil && strings.Contains(e.GetText(), text) {
					return nil
				}
			}
			return fmt.Errorf("log of %s after %d: %w", id, last, err)
		})
	}
	return g.Wait()
}

// harnesses are the processes of the sessions, by id, with when each began.
func harnesses(dir string) (map[int]uint64, error) {
	out := map[int]uint64{}
	for _, p := range federation.Naming(dir) {
		if filepath.Base(p.Args[0]) == "nave-harness" {
			out[p.ID] = p.Start
		}
	}
	if len(out) != workers {
		return nil, fmt.Errorf("%d harnesses run, want %d", len(out), workers)
	}
	return out, nil
}
