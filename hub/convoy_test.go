package hub

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/nave-dev/nave/internal/run"
)

// heldCalls are calls that take until they are let go on.
type heldCalls struct {
	next chan struct{}

	mu   sync.Mutex
	made [][]int // guarded by mu
}

func (h *heldCalls) call(_ context.Context, items []int) {
	h.mu.Lock()
	h.made = append(h.made, slices.Clone(items))
	h.mu.Unlock()
	<-h.next
}

// Who waits for a lane goes with the next call that it fits into, in the order of coming; who gives up is left out, also when its
// turn has just come, and nobody behind is forgotten.
func TestConvoy(t *testing.T) {
	for name, tt := range map[string]struct {
		givesUp []int // of the riders 0 to 6, while the first calls are under way
		want    [][]int
		failed  []int
	}{
		"one lane":              {nil, [][]int{{0}, {1, 2, 3}, {4, 5, 6}}, nil},
		"a rider gives up":      {[]int{2}, [][]int{{0}, {1, 3, 4}, {5, 6}}, []int{2}},
		"the next one gives up": {[]int{1}, [][]int{{0}, {2, 3, 4}, {5, 6}}, []int{1}},
		"all give up":           {[]int{1, 2, 3, 4, 5, 6}, [][]int{{0}}, []int{1, 2, 3, 4, 5, 6}},
		"who is on its way":     {[]int{0}, [][]int{{0}, {1, 2, 3}, {4, 5, 6}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &heldCalls{next: make(chan struct{})}
				c := convoy[int]{lanes: 1, fits: func(with []int, _ int) bool { return len(with) < 3 }, call: h.call}
				g := run.NewGroup(t.Context())
				errs, stops := make([]error, 7), make([]context.CancelFunc, 7)
				for i := range errs {
					ctx, stop := context.WithCancel(t.Context())
					stops[i] = stop
					g.Go("rider", func(context.Context) error { errs[i] = c.ride(ctx, i); return nil })
					synctest.Wait()
				}
				for _, i := range tt.givesUp {
					stops[i]()
				}
				synctest.Wait()
				close(h.next)
				if err := g.Wait(); err != nil {
					t.Fatal(err)
				}
				for i, stop := range stops {
					if stop(); (errs[i] != nil) != slices.Contains(tt.failed, i) {
						t.Errorf("rider %d: %v", i, errs[i])
					}
				}
				slices.SortFunc(h.made, slices.Compare[[]int])
				if !slices.EqualFunc(h.made, tt.want, slices.Equal[[]int]) {
					t.Errorf("calls %v, want %v", h.made, tt.want)
				}
				if c.busy != 0 || c.queued() != 0 {
					t.Errorf("%d lanes are busy and %d wait after all", c.busy, c.queued())
				}
			})
		})
	}
}

// A lane that is given to somebody who gave up at that moment goes to the next one.
func TestAConvoysLaneIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &heldCalls{next: make(chan struct{})}
		close(h.next)
		c := convoy[int]{lanes: 1, fits: func([]int, int) bool { return false }, call: h.call, busy: 1}
		ended, stop := context.WithCancel(t.Context())
		g := run.NewGroup(t.Context())
		var first, second error
		g.Go("first", func(context.Context) error { first = c.ride(ended, 1); return nil })
		synctest.Wait()
		g.Go("second", func(context.Context) error { second = c.ride(t.Context(), 2); return nil })
		synctest.Wait()
		c.mu.Lock()
		r := c.waiting[0]
		c.waiting = slices.Delete(c.waiting, 0, 1)
		c.mu.Unlock()
		stop()
		synctest.Wait()
		r.wake <- true
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if first == nil || second != nil || len(h.made) != 1 || c.busy != 0 {
			t.Errorf("errors %v and %v, calls %v, %d lanes busy", first, second, h.made, c.busy)
		}
	})
}
