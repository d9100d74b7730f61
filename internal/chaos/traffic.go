package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
	"github.com/nave-dev/nave/internal/history"
	"github.com/nave-dev/nave/internal/run"
)

// senders is how many signals may be on their way at a time; what is offered beyond waits.
const senders = 64

// traffic sends signals at a steady rate, each twice under one idempotency key, and keeps every answer. A call without an
// answer is repeated: only an answer counts.
type traffic struct {
	client   *client.Client
	sessions int
	rate     int // a second
	random   *rand.Rand
	down     *atomic.Int32 // faults that are not recovered from yet

	mu       sync.Mutex
	accepted []history.Accepted // guarded by mu
	outage   int                // guarded by mu: accepted while a fault was not recovered from
	retries  int                // guarded by mu
}

// offer is one signal to be sent.
type offer struct {
	key, idem string
	payload   []byte
	again     time.Duration // pause before it is sent a second time
}

// run sends until offering ends, and then until everything that was offered has its two answers or ctx ends.
func (t *traffic) run(ctx context.Context, offering context.Context) error {
	offers := make(chan offer, senders) // full: the generator waits, so the rate falls while the hub is away
	g := run.NewGroup(ctx)
	g.Go("offer", func(ctx context.Context) error {
		defer close(offers)
		tick := time.NewTicker(time.Second / time.Duration(t.rate))
		defer tick.Stop()
		for n := 1; ; n++ {
			select {
			case <-offering.Done():
				return nil
			case <-tick.C:
			}
			o, err := t.next(n)
			if err != nil {
				return err
			}
			select {
			case offers <- o:
			case <-offering.Done():
				return nil
			}
		}
	})
	for range senders {
		g.Go("sender", func(ctx context.Context) error {
			for o := range offers {
				if err := t.send(ctx, o); err != nil {
					return err
				}
				if !pause(ctx, o.again) {
					return context.Cause(ctx)
				}
				if err := t.send(ctx, o); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// next makes the n-th signal. One in fifty makes the agent fail at its first delivery.
func (t *traffic) next(n int) (offer, error) {
	do := task{Millis: t.random.IntN(250)}
	if t.random.IntN(50) == 0 {
		do.Fails = 1
	}
	payload, err := json.Marshal(do)
	return offer{key: fmt.Sprintf("s%03d", t.random.IntN(t.sessions)), idem: fmt.Sprintf("c%06d", n), payload: payload,
		again: time.Duration(t.random.IntN(3000)) * time.Millisecond}, err
}

// send sends a signal until it is answered.
func (t *traffic) send(ctx context.Context, o offer) error {
	for {
		call, cancel := context.WithTimeout(ctx, 5*time.Second)
		a, err := t.client.Sessions.Signal(call, &navev1.SignalRequest{Agent: agentName, Key: o.key, Payload: o.payload, IdempotencyKey: o.idem})
		cancel()
		t.mu.Lock()
		if err == nil {
			t.accepted = append(t.accepted, history.Accepted{Agent: agentName, Key: o.key, Idem: o.idem, Signal: api.SignalID(a.GetSignalId()),
				Session: api.SessionID(a.GetSessionId()), Sequence: a.GetSequence()})
			if t.down.Load() > 0 {
				t.outage++
			}
			t.mu.Unlock()
			return nil
		}
		t.retries++
		t.mu.Unlock()
		if !pause(ctx, 100*time.Millisecond) {
			return fmt.Errorf("signal %s was never answered: %w", o.idem, err)
		}
	}
}

// answers returns what clients were told so far.
func (t *traffic) answers() (accepted []history.Accepted, outage, retries int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]history.Accepted(nil), t.accepted...), t.outage, t.retries
}

// pause waits; false when ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
