package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/internal/run"
)

// sessions starts n sessions and ends them: every other one sleeps when it is terminated, the others have just worked. It
// returns when the hub knows none of them any more.
func (w *world) sessions(ctx context.Context, n int, plant string) error {
	next := make(chan int) // unbuffered: each worker takes one when it has time
	g := run.NewGroup(ctx)
	g.Go("sessions", func(ctx context.Context) error {
		defer close(next)
		for range n {
			w.made++
			select {
			case next <- w.made:
			case <-ctx.Done():
				return nil
			}
		}
		return nil
	})
	for i := range w.o.at {
		g.Go(fmt.Sprint("worker ", i), func(ctx context.Context) error {
			for i := range next {
				if err := w.session(ctx, i, plant); err != nil {
					return fmt.Errorf("session %d: %w", i, err)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil || plant == "sessions" {
		return err
	}
	within, cancel := within(ctx, time.Minute)
	defer cancel()
	return w.Await(within, "no session left", func() (bool, error) {
		page, err := w.client.Sessions.List(within, &navev1.ListSessionsRequest{PageSize: 1})
		return err == nil && len(page.GetSessions()) == 0, err
	})
}

// keep plants a leak.
func (w *world) keep(b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept = append(w.kept, b)
}

// session is the life of one.
func (w *world) session(ctx context.Context, i int, plant string) error {
	ctx, cancel := within(ctx, 2*time.Minute)
	defer cancel()
	signal, err := w.client.Sessions.Signal(ctx, &navev1.SignalRequest{Agent: agentName, Key: fmt.Sprint("key-", i), Payload: []byte("hello"), IdempotencyKey: fmt.Sprint("once-", i)})
	if err != nil {
		return err
	}
	id := signal.GetSessionId()
	err = w.Await(ctx, "its signal is settled", func() (bool, error) {
		s, err := w.client.Sessions.Get(ctx, &navev1.GetSessionRequest{Id: id})
		asleep := s.GetPhase() == string(api.PhaseDormant)
		return s.GetPending() == 0 && (i%2 == 0 || asleep), err
	})
	if err != nil {
		return err
	}
	switch {
	case plant == "sessions" && i%10 == 0:
		return nil
	case plant == "memory":
		w.keep(make([]byte, 2<<10))
	case plant == "files" && i%10 == 0:
		if err := os.WriteFile(filepath.Join(w.Path(work, "process", "workloads"), fmt.Sprint(".left-", i)), nil, 0o600); err != nil {
			return err
		}
	}
	if _, err = w.client.Sessions.Terminate(ctx, &navev1.IntentRequest{SessionId: id}); err != nil {
		return err
	}
	return context.Cause(ctx)
}
