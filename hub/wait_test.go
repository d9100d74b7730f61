package hub

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
)

// Acknowledgements wait a moment for what else there is to say, and what else there is to say waits for nothing.
func TestAcknowledgementsGoWithWhatElseIsSaid(t *testing.T) {
	acks := api.HubMessage{Acks: []api.Ack{{Session: "s", UpTo: 1}}}
	update := api.HubMessage{Updates: []api.ShardUpdate{{Position: api.Position{Shard: 7}, Full: true}}}
	type said struct {
		at            time.Duration
		acks, updates int
	}
	for _, c := range []struct {
		name   string
		update time.Duration // after the acknowledgement; 0: none
		want   said
	}{
		{"alone", 0, said{ackPace, 1, 0}},
		{"with an update", ackPace / 2, said{ackPace / 2, 1, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &Attachment{h: &Hub{metrics: newMetrics()}, mail: newMailbox(10), wake: make(chan struct{}, 1)}
				a.ctx, a.cancel = context.WithCancelCause(t.Context())
				defer a.cancel(nil)
				began := time.Now()
				var got said
				g := run.NewGroup(t.Context())
				g.Go("next", func(ctx context.Context) error {
					m, err := a.Next(ctx)
					got = said{time.Since(began), len(m.Acks), len(m.Updates)}
					return err
				})
				a.push(acks)
				if c.update > 0 {
					time.Sleep(c.update)
					a.push(update)
				}
				if err := g.Wait(); err != nil {
					t.Fatal(err)
				}
				if got != c.want {
					t.Errorf("%+v, want %+v", got, c.want)
				}
			})
		})
	}
}

// What may be committed apart goes with the rest, before it, when there is room for all of it.
func TestWhatMayGoApartGoesAlongWhenThereIsRoom(t *testing.T) {
	put := func(n uint64) Mutation {
		return Mutation{PutSignal: &api.Signal{Sequence: n, Payload: make([]byte, 100)}}
	}
	o := output{apart: [][]Mutation{{put(1), put(2)}, {put(3)}}, mutations: []Mutation{put(4)}}
	size := Batch{Mutations: []Mutation{put(1), put(2), put(3), put(4)}}.size()
	for _, c := range []struct {
		name       string
		ops, bytes int
		together   bool
	}{
		{"room for all", 4, size, true},
		{"too many", 3, size, false},
		{"too large", 4, size - 1, false},
	} {
		got := joined(o, c.ops, c.bytes)
		if c.together != (len(got.apart) == 0) || len(o.apart) != 2 || len(o.mutations) != 1 {
			t.Errorf("%s: %d groups apart, %d mutations", c.name, len(got.apart), len(got.mutations))
		}
		for i, m := range got.mutations {
			if c.together && m.PutSignal.Sequence != uint64(i+1) {
				t.Errorf("%s: mutation %d is of signal %d", c.name, i+1, m.PutSignal.Sequence)
			}
		}
	}
	if alone := joined(output{mutations: []Mutation{put(1)}}, 0, 0); len(alone.mutations) != 1 {
		t.Error("nothing was apart, and something changed")
	}
}
