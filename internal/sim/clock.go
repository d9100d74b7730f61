package sim

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// began is when a run begins by the wall clock, which all machines share: records carry it, nothing depends on it.
var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// clock is what happens when.
type clock struct {
	rnd    *rand.Rand
	now    time.Duration
	queue  happenings
	count  int
	trace  []string
	traced bool
}

// happening is something that is to happen.
type happening struct {
	at   time.Duration
	n    int
	what string
	do   func()
}

type happenings []happening

func (h happenings) Len() int { return len(h) }
func (h happenings) Less(i, k int) bool {
	return h[i].at < h[k].at || h[i].at == h[k].at && h[i].n < h[k].n
}
func (h happenings) Swap(i, k int) { h[i], h[k] = h[k], h[i] }
func (h *happenings) Push(x any)   { *h = append(*h, x.(happening)) }
func (h *happenings) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// after lets something happen later.
func (c *clock) after(d time.Duration, what string, do func()) {
	c.count++
	heap.Push(&c.queue, happening{c.now + max(d, 0), c.count, what, do})
}

// next lets the next thing happen; false when nothing is left before the end.
func (c *clock) next(end time.Duration) bool {
	if len(c.queue) == 0 || c.queue[0].at > end {
		c.now = end
		return false
	}
	h := heap.Pop(&c.queue).(happening)
	c.now = h.at
	if h.what != "" {
		c.note("%s", h.what)
	}
	h.do()
	return true
}

// between is a random time.
func (c *clock) between(low, high time.Duration) time.Duration {
	return low + time.Duration(c.rnd.Int64N(int64(high-low)+1))
}

// chance is true once in n times.
func (c *clock) chance(n int) bool { return c.rnd.IntN(n) == 0 }

// note keeps what happened, for people who look for a fault.
func (c *clock) note(format string, args ...any) {
	if c.traced {
		c.trace = append(c.trace, fmt.Sprintf("%9.3fs ", c.now.Seconds())+fmt.Sprintf(format, args...))
	}
}

// story is everything that was noted.
func (c *clock) story() string { return strings.Join(c.trace, "\n") }

func (c *clock) wall() time.Time { return began.Add(c.now) }
