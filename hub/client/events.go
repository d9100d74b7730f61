package client

import (
	"context"
	"errors"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
)

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

// ErrStop is what a handler of [Client.Follow] returns when it has seen enough.
var ErrStop = errors.New("stop following")

// maxFollow bounds the attempts of [Client.Follow] without a new event. It outlasts the restart of a hub or of its database:
// about 11 s, at least 4 s.
const maxFollow = 10

// Follow hands the events of a session to handle, one by one, densely from req.From (0 means 1). When the hub becomes
// unavailable it connects again and goes on after the last event that handle took; it gives up after several attempts
// without one new event. It returns nil at the end of the log (req.Follow false), after req.Limit events, or when handle
// returned [ErrStop]; other errors of handle are returned as they are. req is not changed.
func (c *Client) Follow(ctx context.Context, req *navev1.EventsRequest, handle func(*navev1.Event) error) error {
	f := follower{client: c, req: proto.Clone(req).(*navev1.EventsRequest), handle: handle}
	f.req.From = max(f.req.GetFrom(), 1)
	for idle := 1; ; idle++ {
		before := f.req.GetFrom()
		done, err := f.read(ctx)
		if done || err != nil && api.CodeOf(err) != api.CodeUnavailable {
			return err
		}
		if f.req.GetFrom() > before {
			idle = 1
		}
		if idle == maxFollow || !pause(ctx, idle) {
			if ctx.Err() != nil {
				return decode(ctx, ctx.Err())
			}
			if err == nil {
				err = api.Errorf(api.CodeUnavailable, "the hub ended the stream %d times without an event: try again later", idle)
			}
			return err
		}
	}
}

type follower struct {
	client *Client
	req    *navev1.EventsRequest // From is the next number wanted, Limit what is left
	handle func(*navev1.Event) error
}

// read takes one stream to its end. It reports true when nothing more is wanted.
func (f *follower) read(ctx context.Context) (done bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // a stream that is left early is cut, not drained
	s, err := f.client.Sessions.Events(ctx, f.req)
	if err != nil {
		return false, decode(ctx, err)
	}
	limited := f.req.GetLimit() > 0
	for s.Receive() {
		e := s.Msg()
		if e.GetDelta() != nil { // of no log: it has no number
			if err := f.handle(e); errors.Is(err, ErrStop) {
				return true, nil
			} else if err != nil {
				return true, err
			}
			continue
		}
		if e.GetNumber() != f.req.GetFrom() {
			return true, api.Errorf(api.CodeInternal, "the hub sent event %d where %d was to come: the log has a gap or a double", e.GetNumber(), f.req.GetFrom())
		}
		if err := f.handle(e); errors.Is(err, ErrStop) {
			return true, nil
		} else if err != nil {
			return true, err
		}
		f.req.From++
		if limited {
			if f.req.Limit--; f.req.Limit == 0 {
				return true, nil
			}
		}
	}
	if err := s.Err(); err != nil {
		return false, decode(ctx, err)
	}
	return !f.req.GetFollow(), nil
}
