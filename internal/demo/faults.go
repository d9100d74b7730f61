package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
	"github.com/nave-dev/nave/internal/federation"
	"github.com/nave-dev/nave/internal/run"
)

const (
	killedMember = 0               // of etcd
	batch        = 3               // signals that are sent to the queue at a time
	databaseGone = 3 * time.Second // how long nobody starts the database again
)

// faults kills parts of the hub in the middle of the story: a member of etcd while auditor-gcp answers, and the database
// while auditor does. One more session, the queue, is given more signals than its agent has done, so that at each fault an
// agent works and signals wait.
//
// Its methods may be called for nil: then nothing is killed. They are called one after the other.
type faults struct {
	*demonstration
	api     *client.Client
	group   *run.Group // follows the queue's log, and brings back what was killed
	queue   *sent
	log     streamed
	outcome outcome
}

// outcome is what the judge is told of the faults. Times are this machine's, as those of the hub.
type outcome struct {
	memberDown, memberUp time.Time
	whileDown            int // signals whose acceptance was answered between the two
	streamed             []*navev1.Event
	beforeDeath          int // how many of these had come when the database was killed
	beforeLife           int // and how many when it answered again
}

func newFaults(ctx context.Context, d *demonstration) (*faults, error) {
	c, err := d.Client()
	if err != nil {
		return nil, err
	}
	return &faults{demonstration: d, api: c, group: run.NewGroup(ctx), queue: &sent{agent: "auditor", key: "queue", detail: "files"}}, nil
}

// bound returns a context that ends also when a fault could not be planted or mended, so that nobody waits for an answer that
// will not come.
func (f *faults) bound(ctx context.Context) context.Context {
	if f == nil {
		return ctx
	}
	return f.group.Context() // made from the same
}

// working is called when the first line of an answer has streamed in.
func (f *faults) working(ctx context.Context, s *sent) error {
	switch {
	case f == nil:
		return nil
	case s.agent == "auditor-gcp":
		return f.killMember(ctx)
	case s.agent == "auditor":
		return f.killDatabase(ctx)
	}
	return nil
}

// answered is called when an answer is complete.
func (f *faults) answered(ctx context.Context, s *sent) error {
	if f == nil || s.agent != "auditor-gcp" {
		return nil
	}
	if err := f.parts.etcd.Start(ctx, killedMember); err != nil {
		return err
	}
	f.outcome.memberUp = time.Now()
	tell("the member of etcd runs again and answers, %.1f s after it was killed", f.outcome.memberUp.Sub(f.outcome.memberDown).Seconds())
	return nil
}

func (f *faults) killMember(ctx context.Context) error {
	if err := f.fill(ctx); err != nil {
		return err
	}
	f.group.Go("follow the queue", f.follow)
	waiting, err := f.busy(ctx)
	if err != nil {
		return err
	}
	if err := f.parts.etcd.Kill(killedMember); err != nil {
		return err
	}
	f.outcome.memberDown = time.Now()
	tell("kill -9 of the etcd member %s: agents work, %d signals are not settled", f.parts.etcd.Endpoints()[killedMember], waiting)
	before := f.queue.signals
	if err := f.fill(ctx); err != nil {
		return err
	}
	f.outcome.whileDown = f.queue.signals - before
	tell("%d signals were accepted while it is down, the last %.1f s after the kill", f.outcome.whileDown, time.Since(f.outcome.memberDown).Seconds())
	return nil
}

func (f *faults) killDatabase(ctx context.Context) error {
	if err := f.fill(ctx); err != nil {
		return err
	}
	waiting, err := f.busy(ctx)
	if err != nil {
		return err
	}
	f.outcome.beforeDeath = f.log.count()
	if err := f.parts.db.Kill(); err != nil {
		return err
	}
	down := time.Now()
	tell("kill -9 of PostgreSQL, all its processes: agents work, %d signals are not settled", waiting)
	f.group.Go("bring the database back", func(ctx context.Context) error {
		select {
		case <-time.After(databaseGone):
		case <-ctx.Done():
			return nil
		}
		f.outcome.beforeLife = f.log.count()
		if err := f.parts.db.Start(ctx); err != nil {
			return err
		}
		answers := time.Since(down)
		// Well is when the hub writes to it again: a new event of the queue has come.
		err := federation.Await(ctx, "an event after the database's death", func() (bool, error) { return f.log.count() > f.outcome.beforeLife, nil })
		if err == nil {
			tell("PostgreSQL answers again, %.1f s after it was killed; events stream again after %.1f s", answers.Seconds(), time.Since(down).Seconds())
		}
		return err
	})
	return nil
}

// fill sends signals to the queue.
func (f *faults) fill(ctx context.Context) error {
	payload, err := f.payload(f.queue)
	if err != nil {
		return err
	}
	for range batch {
		res, err := f.api.Sessions.Signal(ctx, &navev1.SignalRequest{Agent: f.queue.agent, Key: f.queue.key, Payload: payload})
		if err != nil {
			return fmt.Errorf("signal to the queue: %w", err)
		}
		f.queue.session = res.GetSessionId()
		f.queue.signals++
	}
	return nil
}

// busy waits until the queue's agent says something new, and returns how many signals of the queue are not settled.
func (f *faults) busy(ctx context.Context) (waiting int, err error) {
	before := f.log.messages()
	err = f.within(ctx, "a message from the queue", func() bool { return f.log.messages() > before })
	if err != nil {
		return 0, err
	}
	session, err := f.api.Sessions.Get(ctx, &navev1.GetSessionRequest{Id: f.queue.session})
	if err != nil {
		return 0, err
	}
	if waiting = int(session.GetPending()); waiting < 2 {
		return waiting, fmt.Errorf("%d signals of the queue are not settled: one is worked on, and at least one was to wait", waiting)
	}
	return waiting, nil
}

// within waits for the queue's log, and gives up when that is not followed any more or a program has ended.
func (f *faults) within(ctx context.Context, what string, ok func() bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(f.group.Context(), func() { cancel(context.Cause(f.group.Context())) })()
	return f.Await(ctx, what, func() (bool, error) { return ok(), nil })
}

// follow keeps what streams in of the queue's log.
func (f *faults) follow(ctx context.Context) error {
	err := f.api.Follow(ctx, &navev1.EventsRequest{SessionId: f.queue.session, From: 1, Follow: true}, f.log.take)
	if ctx.Err() != nil {
		return nil // enough was seen
	}
	return fmt.Errorf("the queue's log is not followed any more: %w", err)
}

// settled waits until all is well and done, and returns the story's signals with those of the queue.
func (f *faults) settled(ctx context.Context, signals []*sent) ([]*sent, error) {
	if f == nil {
		return signals, nil
	}
	title("The queue, through both faults")
	err := f.within(ctx, "the end of the queue", func() bool { return f.log.settled() >= f.queue.signals })
	if err = errors.Join(err, f.close()); err != nil {
		return nil, err
	}
	f.outcome.streamed = f.log.all()
	f.queue.lines, f.queue.followed = f.log.messages(), true
	fmt.Printf("  %d signals are settled, %d messages streamed in\n", f.queue.signals, f.queue.lines)
	return append(signals, f.queue), nil
}

// close ends what runs by itself. It may be called again, and for nil.
func (f *faults) close() error {
	if f == nil {
		return nil
	}
	f.group.Stop()
	defer f.api.Close()
	return f.group.Wait()
}

// tell says what was done to the federation, between the lines of an answer.
func tell(format string, args ...any) {
	fmt.Printf("  *** %s  %s\n", time.Now().Format("15:04:05.000"), fmt.Sprintf(format, args...))
}

// streamed is a log as it comes in.
type streamed struct {
	mu     sync.Mutex
	events []*navev1.Event
}

func (l *streamed) take(e *navev1.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
	return nil
}

func (l *streamed) all() []*navev1.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.events[:len(l.events):len(l.events)]
}

func (l *streamed) count() int { return len(l.all()) }

func (l *streamed) messages() (n int) {
	for _, e := range l.all() {
		if api.EventType(e.GetType()) == api.EventMessage {
			n++
		}
	}
	return n
}

// settled counts the signals whose turn is done.
func (l *streamed) settled() (n int) {
	for _, e := range l.all() {
		if api.EventType(e.GetType()) == api.EventTurnDone && e.GetOutcome() == string(api.OutcomeDone) {
			n += len(e.GetSignals())
		}
	}
	return n
}
