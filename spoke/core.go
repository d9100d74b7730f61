package spoke

import (
	"time"

	"github.com/nave-dev/nave/api"
)

// Core is a spoke without goroutines, for a simulator: the loop of [Spoke], driven by hand and synchronously. Of the
// configuration's ports it calls Journal, Link.Send, Door.Tell, Door.Lease, Door.Asked, Door.Forget and Runtime.Refuse, all
// from within its own methods; what the runtime is to do it returns as calls, which the caller performs in any order and as
// late as it likes, and answers with [Done] and [Listed].
//
// To crash, drop the Core: whatever its journal has not appended is lost. The next one, made with the journal's records, is
// the restarted program.
type Core struct{ l *loop }

// NewCore checks the configuration and replays the journal.
func NewCore(cfg Config) (*Core, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(cfg.Metrics)
	if err != nil {
		return nil, err
	}
	l := newLoop(cfg, m, &status{})
	if err := l.replay(); err != nil {
		return nil, err
	}
	return &Core{l}, nil
}

// Take hands inputs over, in order. Nothing is answered before the next round.
func (c *Core) Take(inputs ...Input) {
	for _, in := range inputs {
		c.l.take(in)
	}
}

// Round does what follows from what was taken: journals, answers, tells door and link, and returns the calls of the runtime
// that are to be performed. A Round without anything taken is a tick. After an error the Core is of no use any more.
func (c *Core) Round() ([]Call, error) {
	err := c.l.round()
	return c.l.performed(), err
}

// Next is when, by the clock of the configuration, the next Round is due at the latest: 500 ms after the last one, or earlier.
func (c *Core) Next() time.Duration { return c.l.next() }

// Ready is [Spoke.Ready].
func (c *Core) Ready() error { return c.l.status.ready() }

// Held is what a hello would say of the sessions now.
func (c *Core) Held() []api.Held { return c.l.holds() }
