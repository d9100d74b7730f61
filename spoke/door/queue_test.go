package door

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
)

// Those who wait come in their order; one that gives up leaves its place to the next one.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue("calls", 2, 4)
		g := run.NewGroup(t.Context())
		var got []string
		enter := func(name string) context.CancelFunc {
			ctx, cancel := context.WithCancel(t.Context())
			g.Go(name, func(context.Context) error {
				err := q.enter(ctx)
				if err == nil {
					got = append(got, name)
				} else {
					got = append(got, fmt.Sprint(name, " ", api.CodeOf(err)))
				}
				return nil
			})
			synctest.Wait()
			return cancel
		}
		enter("a")
		enter("b")
		enter("c")
		second := enter("d")
		enter("e")
		enter("f")
		enter("g")
		second()
		synctest.Wait()
		for range 3 {
			q.leave()
			synctest.Wait()
		}
		q.leave()
		q.leave()
		enter("h")
		enter("i")
		last := enter("j")
		// It gives up and gets its turn at once: the turn goes on to somebody else.
		q.mu.Lock()
		last()
		q.leaveLocked()
		q.mu.Unlock()
		synctest.Wait()
		enter("k")
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{"a", "b", "g unavailable", "d internal", "c", "e", "f", "h", "i", "j internal", "k"}, got); diff != "" {
			t.Errorf("order (-want +got)\n%s", diff)
		}
	})
}
