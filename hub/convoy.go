package hub

import (
	"context"
	"slices"
	"sync"
)

// convoy makes calls together that come while others are under way. It has no goroutine: one of those who wait makes the call
// for all whose turn it is. A call that finds nothing under way is made at once where it is, without waking anybody; that is
// what most calls find on a machine with little to do.
type convoy[T any] struct {
	lanes int                        // calls that are under way at a time
	fits  func(with []T, one T) bool // whether one more goes with those
	call  func(context.Context, []T) // makes the call and keeps the answers with its items

	mu      sync.Mutex
	busy    int         // guarded by mu: lanes
	waiting []*rider[T] // guarded by mu
}

// rider waits for the call with its item.
type rider[T any] struct {
	item T
	wake chan bool // capacity 1; true: make it yourself, false: it was made
}

// ride returns when the call with the item was made, or when ctx ends before it began.
func (c *convoy[T]) ride(ctx context.Context, item T) error {
	me := &rider[T]{item: item}
	c.mu.Lock()
	if c.busy < c.lanes {
		c.busy++
		c.mu.Unlock()
		c.drive(ctx, me)
		return nil
	}
	me.wake = make(chan bool, 1)
	c.waiting = append(c.waiting, me)
	c.mu.Unlock()
	select {
	case lead := <-me.wake:
		if lead {
			c.drive(ctx, me)
		}
		return nil
	case <-ctx.Done():
	}
	c.mu.Lock()
	i := slices.Index(c.waiting, me)
	if i >= 0 {
		c.waiting = slices.Delete(c.waiting, i, i+1)
	}
	c.mu.Unlock()
	if i < 0 { // it is being made, or its turn has just come
		if lead := <-me.wake; !lead {
			return nil
		}
		c.pass()
	}
	return context.Cause(ctx)
}

// drive makes the call for one and for those who wait and go with it, and passes the lane on, also when the call panics.
func (c *convoy[T]) drive(ctx context.Context, me *rider[T]) {
	items := []T{me.item}
	var with []*rider[T]
	c.mu.Lock()
	c.waiting = slices.DeleteFunc(c.waiting, func(r *rider[T]) bool {
		goes := c.fits(items, r.item)
		if goes {
			items, with = append(items, r.item), append(with, r)
		}
		return goes
	})
	c.mu.Unlock()
	defer func() {
		for _, r := range with {
			r.wake <- false
		}
		c.pass()
	}()
	c.call(ctx, items)
}

// pass gives the lane to the first one who waits, so that nobody is overtaken for ever.
func (c *convoy[T]) pass() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		c.busy--
		return
	}
	c.waiting[0].wake <- true
	c.waiting = slices.Delete(c.waiting, 0, 1)
}

// queued is how many wait.
func (c *convoy[T]) queued() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting)
}
