package harness

import (
	"io"
	"time"
)

// Reads of an agent's output that follow one another within readPace wait until it is over, so that an agent that prints line
// after line costs a wake, a message and an answer for some lines and not for each. The first two reads after a pause wait for
// nothing, and neither does a read after one of many bytes: more is there.
const (
	readPace  = 6 * time.Millisecond
	readBytes = 4 << 10
)

// calm reads from r, not too often.
type calm struct {
	r    io.Reader
	last time.Time // the last read ended
	fast bool      // it came soon after the one before
}

func (c *calm) Read(b []byte) (int, error) {
	if c.fast {
		time.Sleep(time.Until(c.last.Add(readPace)))
	}
	n, err := c.r.Read(b)
	now := time.Now()
	c.fast = n < readBytes && now.Sub(c.last) < 2*readPace
	c.last = now
	return n, err
}
