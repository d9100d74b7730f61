package harness

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

func event(text string) *harnessv1.Event { return &harnessv1.Event{Type: "message", Text: text} }

// A full outbox makes put wait, in events and in bytes, and keeps everything.
func TestOutboxPushesBack(t *testing.T) {
	for _, tt := range []struct {
		name      string
		o         *outbox
		text      string
		fits, all int
	}{
		{"events", newOutbox(10, 1<<20), "x", 10, 25},
		{"bytes", newOutbox(1000, 10_000), strings.Repeat("x", 1000), 9, 25},
		{"one that is larger than the bound", newOutbox(1000, 100), strings.Repeat("x", 1000), 1, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := tt.o
				g := run.NewGroup(t.Context())
				put := 0
				g.Go("agent", func(ctx context.Context) error {
					for ; put < tt.all; put++ {
						o.put(ctx, event(tt.text))
					}
					return nil
				})
				synctest.Wait()
				if put != tt.fits {
					t.Fatalf("%d events fit, want %d", put, tt.fits)
				}
				next := uint64(1)
				for next <= uint64(tt.all) {
					batch, _, _ := o.after(next - 1)
					for _, e := range batch {
						if e.Number != next {
							t.Fatalf("number %d comes where %d is due", e.Number, next)
						}
						next++
					}
					if !o.ack(next - 1) {
						t.Fatalf("ack %d is refused", next-1)
					}
					synctest.Wait()
				}
				if err := g.Wait(); err != nil || !o.drained(t.Context()) {
					t.Fatalf("Wait = %v", err)
				}
				if o.bytes != 0 || o.ack(next) {
					t.Fatalf("%d bytes are held by an empty outbox, or it takes an ack for what was not made", o.bytes)
				}
			})
		})
	}
}

func TestOutboxKeepsWhatComesAfterTheEnd(t *testing.T) {
	o := newOutbox(1, 1<<20)
	for range 3 {
		o.put(cancelled(), event("rest"))
	}
	if batch, _, _ := o.after(1); len(batch) != 2 || batch[0].Number != 2 {
		t.Fatalf("after 1 come %v", batch)
	}
}

func TestOutboxBoundsBatches(t *testing.T) {
	o := newOutbox(10_000, 1<<30)
	for range 1000 {
		o.put(t.Context(), event(strings.Repeat("x", 60_000)))
	}
	batch, _, _ := o.after(0)
	if len(batch) == 0 || len(batch) > (1<<20)/60_000 {
		t.Fatalf("a batch has %d events of 60 KB", len(batch))
	}
}

func TestDrainedEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox(10, 1<<20)
		o.put(t.Context(), event("never taken"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if o.drained(ctx) {
			t.Fatal("drained, and an event is held")
		}
	})
}
