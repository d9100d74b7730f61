package client

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
)

// callBytes bounds the signals of one call, so that it stays within what a hub takes of one request by default (2 MiB).
const callBytes = 2<<20 - 64<<10

// SignalMany sends signals that stand alone, in order, in as few calls as their number and size allow, one after another. It
// returns what became of each. With an error the rest of the list is missing in what it returns: those of the call that
// failed may have been accepted or not, those behind it were not sent. What has an idempotency key can be sent again.
//
// A call that is refused because the caller is too fast was not taken at all: it waits and goes on with smaller ones.
func (c *Client) SignalMany(ctx context.Context, signals []*navev1.SignalRequest) ([]*navev1.SignalResult, error) {
	results := make([]*navev1.SignalResult, 0, len(signals))
	most, attempt := api.MaxSignalsPerCall, 1
	for len(results) < len(signals) {
		next := signals[len(results):]
		n := oneCall(next, most)
		res, err := c.Sessions.SignalMany(ctx, &navev1.SignalManyRequest{Signals: next[:n]})
		switch {
		case err == nil && len(res.GetResults()) != n:
			return results, api.Errorf(api.CodeInternal, "%d answers to %d signals", len(res.GetResults()), n)
		case err == nil:
			results, attempt = append(results, res.GetResults()...), 1
		case api.CodeOf(err) == api.CodeLimit && attempt < maxAttempts && pause(ctx, attempt):
			most, attempt = max(1, n/2), attempt+1
		default:
			return results, err
		}
	}
	return results, nil
}

// oneCall is how many of the next signals go into one call: one at least.
func oneCall(signals []*navev1.SignalRequest, most int) int {
	n, bytes := 0, 0
	for n < min(most, len(signals)) {
		if bytes += proto.Size(signals[n]) + 8; n > 0 && bytes > callBytes {
			break
		}
		n++
	}
	return n
}
