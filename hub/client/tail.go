package client

import (
	"context"

	"github.com/nave-dev/nave/api/navev1"
)

// firstGuess is the number that the search for the end of a log begins with.
const firstGuess = 64

// End returns the number of the last event of a session's log, 0 for a log that is empty. The API has no such question:
// it is asked for single events, about twice the logarithm of their number.
func (c *Client) End(ctx context.Context, session string) (uint64, error) {
	has := func(n uint64) (bool, error) {
		found := false
		err := c.Follow(ctx, &navev1.EventsRequest{SessionId: session, From: n, Limit: 1}, func(*navev1.Event) error {
			found = true
			return ErrStop
		})
		return found, err
	}
	below, above := uint64(0), uint64(firstGuess) // the end is at least below, and not at above once that was asked
	for {
		found, err := has(above)
		if err != nil {
			return 0, err
		}
		if !found {
			break
		}
		below, above = above, above*4
	}
	for above-below > 1 {
		middle := below + (above-below)/2
		found, err := has(middle)
		if err != nil {
			return 0, err
		}
		if found {
			below = middle
		} else {
			above = middle
		}
	}
	return below, nil
}

// backChunk is how many events [Client.Back] reads at a time.
const backChunk = 256

// Back hands the events from number from on to handle, and then those before them, in chunks that go back to the beginning
// of the log: within a chunk in the log's order. It ends when handle returns false.
func (c *Client) Back(ctx context.Context, session string, from uint64, handle func([]*navev1.Event) bool) error {
	for from > 0 {
		first := from - min(from-1, backChunk-1)
		var chunk []*navev1.Event
		err := c.Follow(ctx, &navev1.EventsRequest{SessionId: session, From: first, Limit: uint32(from - first + 1)}, func(e *navev1.Event) error {
			chunk = append(chunk, e)
			return nil
		})
		if err != nil || !handle(chunk) {
			return err
		}
		from = first - 1
	}
	return nil
}
