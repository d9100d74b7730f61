package hub

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/nave-dev/nave/api"
)

// Bounds of the collection of checkpoints.
const (
	garbageSessions = 1 << 17     // sessions that wait at most; past it what comes is left to the session's next checkpoint
	collectWithin   = time.Minute // one session
	collectAtLeast  = time.Second // pause after a failure, doubled up to collectAtMost
	collectAtMost   = time.Minute
)

// garbage is what is to be kept of a session's checkpoints.
type garbage struct {
	org  api.OrgID
	keep []api.CheckpointID
}

// collector removes checkpoints that nobody needs. Level: of a session the latest word counts. What waits is lost with the
// process: the session's next checkpoint brings it again.
type collector struct {
	h    *Hub
	wake chan struct{} // capacity 1

	mu      sync.Mutex
	waiting map[api.SessionID]garbage // guarded by mu
	order   []api.SessionID           // guarded by mu: of those that wait, each once
}

func newCollector(h *Hub) *collector {
	return &collector{h: h, wake: make(chan struct{}, 1), waiting: map[api.SessionID]garbage{}}
}

// collect lets the checkpoints of a session be removed but for those to keep and what they need. It never blocks.
func (h *Hub) collect(org api.OrgID, session api.SessionID, keep []api.CheckpointID) {
	if !h.garbage.put(session, garbage{org, slices.Clone(keep)}, true) {
		h.metrics.collections.WithLabelValues("left").Inc()
		h.log.Warn("too many sessions wait for their checkpoints to be collected", "session", session)
	}
}

// put queues a session. What comes later replaces what waits; a repetition does not.
func (c *collector) put(session api.SessionID, g garbage, later bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, waits := c.waiting[session]; waits {
		if later {
			c.waiting[session] = g
		}
		return true
	}
	if len(c.waiting) >= garbageSessions {
		return false
	}
	c.waiting[session] = g
	c.order = append(c.order, session)
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return true
}

func (c *collector) next() (session api.SessionID, g garbage, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.order) == 0 {
		return "", garbage{}, false
	}
	session = c.order[0]
	g = c.waiting[session]
	c.order = c.order[1:]
	delete(c.waiting, session)
	return session, g, true
}

// run collects one session after another. After a failure the session goes to the end, and a pause follows.
func (c *collector) run(ctx context.Context) error {
	pause := collectAtLeast
	for {
		session, g, ok := c.next()
		if !ok {
			select {
			case <-ctx.Done():
				return nil
			case <-c.wake:
			}
			continue
		}
		if err := c.one(ctx, session, g); err == nil {
			pause = collectAtLeast
			continue
		}
		c.put(session, g, false)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, collectAtMost)
	}
}

func (c *collector) one(ctx context.Context, session api.SessionID, g garbage) error {
	ctx, cancel := context.WithTimeout(ctx, collectWithin)
	defer cancel()
	removed, err := c.h.cfg.Vault.CollectCheckpoints(ctx, g.org, session, g.keep)
	c.h.metrics.collections.WithLabelValues(result(err)).Inc()
	c.h.metrics.collected.Add(float64(removed))
	if err != nil {
		c.h.log.Warn("checkpoints not collected", "session", session, "error", err)
	}
	return err
}

// waits is how many sessions wait.
func (c *collector) waits() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting)
}
