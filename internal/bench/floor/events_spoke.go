package floor

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/nave-dev/nave/internal/run"
)

// EventsPlan is what the floor's spoke is told to print: a line on its standard input.
type EventsPlan struct {
	Plans map[string]Plan `json:"plans"` // by session
}

// Bounds of what is printed and not in the journal, and of what is there and not answered.
const (
	outboxItems = 4096
	windowItems = 1024
	batchItems  = 1024 // of a session in one message
)

// eventsSpoke DIR ADDRESS: it prints "ready" and the address of its profiles, and "done" after each plan.
func eventsSpoke(ctx context.Context, args []string) error {
	g := run.NewGroup(ctx)
	p, err := profiles(g)
	if err == nil {
		err = produce(ctx, args[0], args[1], p)
	}
	g.Stop()
	return errors.Join(err, g.Wait())
}

func produce(ctx context.Context, dir, address string, profiles net.Addr) error {
	cc, err := EventsDial(dir, address)
	if err != nil {
		return err
	}
	defer cc.Close()
	stream, err := cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, eventsPush)
	if err != nil {
		return err
	}
	journal, err := os.Create(filepath.Join(dir, "journal"))
	if err != nil {
		return err
	}
	defer journal.Close()
	fmt.Println("ready", profiles)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var p EventsPlan
		if err := json.Unmarshal(in.Bytes(), &p); err != nil {
			return err
		}
		if err := (&producer{journal: journal, stream: stream}).run(ctx, p); err != nil {
			return err
		}
		fmt.Println("done")
	}
	return nil
}

// producer prints one plan.
type producer struct {
	journal *os.File
	at      int64
	stream  grpc.ClientStream
	wake    chan struct{} // capacity 1
	slots   chan struct{} // full while windowItems times the sessions are not answered

	mu    sync.Mutex
	boxes map[string][]Item // guarded by mu: printed, not in the journal
	room  *sync.Cond        // of boxes
	left  int               // guarded by mu: sessions that go on printing
}

func (p *producer) run(ctx context.Context, plan EventsPlan) error {
	p.wake, p.slots = make(chan struct{}, 1), make(chan struct{}, windowItems*len(plan.Plans))
	p.boxes, p.room, p.left = map[string][]Item{}, sync.NewCond(&p.mu), len(plan.Plans)
	total := 0
	g := run.NewGroup(ctx)
	for session, own := range plan.Plans {
		total += own.Lines
		g.Go("print", func(ctx context.Context) error { return p.print(ctx, session, own) })
	}
	g.Go("answers", func(context.Context) error {
		for n := 0; n < total; {
			in := new(wrapperspb.UInt64Value)
			if err := p.stream.RecvMsg(in); err != nil {
				return err
			}
			for range in.Value {
				<-p.slots
			}
			n += int(in.Value)
		}
		return nil
	})
	g.Go("send", p.send)
	return g.Wait()
}

func (p *producer) notify() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// print puts the lines of a session into its box.
func (p *producer) print(ctx context.Context, session string, plan Plan) error {
	err := plan.Print(ctx, func(m Moment) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		for len(p.boxes[session]) >= outboxItems {
			p.room.Wait()
		}
		p.boxes[session] = append(p.boxes[session], Item{uint64(m.N) + 1, plan.Line(nil, m)})
		if plan.Rate == 0 {
			p.notify()
		}
		return nil
	}, func() error { p.notify(); return nil })
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left--
	p.notify()
	return err
}

// send journals what was printed, and sends it.
func (p *producer) send(ctx context.Context) error {
	var frame []byte
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.wake:
		}
		for {
			p.mu.Lock()
			taken, over := p.boxes, p.left == 0
			p.boxes = make(map[string][]Item, len(taken))
			p.room.Broadcast()
			p.mu.Unlock()
			if len(taken) == 0 {
				if over {
					return nil
				}
				break
			}
			frame = frame[:0]
			for session, items := range taken {
				frame = pack(frame, session, items)
			}
			if err := p.append(frame); err != nil {
				return err
			}
			for session, items := range taken {
				for len(items) > 0 {
					n := min(len(items), batchItems)
					for range n {
						p.slots <- struct{}{}
					}
					if err := p.stream.SendMsg(wrapperspb.Bytes(pack(nil, session, items[:n]))); err != nil {
						return err
					}
					items = items[n:]
				}
			}
		}
	}
}

// append writes a frame behind the last one and syncs. Every 64 MiB it begins anew: what is answered need not be kept.
func (p *producer) append(frame []byte) error {
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(frame)))
	if _, err := p.journal.WriteAt(append(head, frame...), p.at); err != nil {
		return err
	}
	if p.at += int64(len(frame) + 4); p.at > 64<<20 {
		p.at = 0
	}
	return syscall.Fdatasync(int(p.journal.Fd()))
}
