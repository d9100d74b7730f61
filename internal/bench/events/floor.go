package events

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/nave-dev/nave/internal/bench/floor"
	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/internal/run"
)

// base is the floor: its two processes, and a connection for readers.
type base struct {
	b          *measure.Bench
	hub, spoke *floor.Child
	conn       *grpc.ClientConn
	runs       int
}

func startFloor(ctx context.Context, b *measure.Bench) (*base, error) {
	f := &base{b: b}
	dir, err := b.Subdir("floor")
	if err != nil {
		return nil, err
	}
	if f.hub, err = floor.Start(ctx, b.Self, "events-hub", dir); err == nil {
		f.spoke, err = floor.Start(ctx, b.Self, "events-spoke", dir, f.hub.Says[0])
	}
	if err == nil {
		f.conn, err = floor.EventsDial(dir, f.hub.Says[0])
	}
	if err == nil { // warms it up
		_, _, err = f.print(ctx, sessions, warmUp)
	}
	if err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// close ends the processes, the spoke's first.
func (f *base) close() {
	if f.conn != nil {
		f.conn.Close()
	}
	for _, c := range []*floor.Child{f.spoke, f.hub} {
		if c != nil {
			_ = c.Close() // how it ends is of no interest: it was told to
		}
	}
}

// using is what both processes use of the processors for a load.
func (f *base) using(load func() error) (time.Duration, error) {
	before, err := f.processor()
	if err != nil {
		return 0, err
	}
	if err := load(); err != nil {
		return 0, err
	}
	after, err := f.processor()
	return after - before, err
}

// allocated is how many bytes both processes have allocated.
func (f *base) allocated(ctx context.Context) (sum float64, err error) {
	for _, c := range []*floor.Child{f.spoke, f.hub} {
		n, err := c.Counts(ctx)
		if err != nil {
			return 0, err
		}
		sum += n.Bytes
	}
	return sum, nil
}

// processor is what both processes have used.
func (f *base) processor() (sum time.Duration, err error) {
	for _, c := range []*floor.Child{f.spoke, f.hub} {
		used, err := c.Processor()
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// print lets the floor print by a plan as the agents of the federation do, and reads.
func (f *base) print(ctx context.Context, n int, p floor.Plan) (all []*seen, begin time.Time, err error) {
	f.runs++
	begin = time.Now().Add(lead / 2)
	plans := floor.EventsPlan{Plans: map[string]floor.Plan{}}
	g := run.NewGroup(ctx)
	ready := make(chan struct{}, n)
	for i, own := range shares(n, p, begin) {
		s := newSeen(own)
		all = append(all, s)
		session := fmt.Sprintf("%026d", f.runs*100+i)
		plans.Plans[session] = own
		g.Go("reader", func(ctx context.Context) error { return f.follow(ctx, session, own.Lines, s, ready) })
	}
	g.Go("plan", func(ctx context.Context) error {
		for range n {
			select {
			case <-ready:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		text, err := json.Marshal(plans)
		if err == nil {
			_, err = f.spoke.Stdin.Write(append(text, '\n'))
		}
		if err == nil {
			_, err = f.spoke.Lines.ReadString('\n')
		}
		return err
	})
	err = g.Wait()
	f.b.Late = append(f.b.Late, lateness(all)...)
	return all, begin, err
}

func (f *base) follow(ctx context.Context, session string, lines int, s *seen, ready chan<- struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := f.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, floor.EventsTopic)
	if err == nil {
		err = stream.SendMsg(wrapperspb.Bytes([]byte(session)))
	}
	if err == nil {
		err = stream.RecvMsg(new(wrapperspb.BytesValue))
	}
	if err != nil {
		return err
	}
	ready <- struct{}{}
	for next := uint64(1); int(next) <= lines; {
		in := new(wrapperspb.BytesValue)
		if err := stream.RecvMsg(in); err != nil {
			return err
		}
		_, items, err := floor.Unpack(in.Value)
		if err != nil {
			return err
		}
		for _, i := range items {
			if i.Number != next {
				return fmt.Errorf("floor: event %d comes where %d is due", i.Number, next)
			}
			next++
			if err := s.check(string(i.Text)); err != nil {
				return err
			}
		}
	}
	return nil
}
