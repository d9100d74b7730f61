package spoke

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nave-dev/nave/api"
)

// loop owns the state. One round: take what waits, plan what it touched, journal all changes at once, then answer and act.
type loop struct {
	s     *Spoke
	cfg   Config
	log   *slog.Logger
	st    *state
	began time.Time     // the loop's clock counts from here
	now   time.Duration // of this round

	batch   [][]byte      // changes of this round, encoded
	answers []func(error) // to be called when they are durable
	effects []func()      // to be done then
	held    []api.Held    // to be sent then
	dirty   map[api.SessionID]bool
	wake    time.Duration // when some session is due, 0: none; may be too early, never too late

	connected bool
	sendAt    time.Duration     // not before this is anything sent: the queue was full
	cluster   api.ClusterID     // from the hub's welcome
	labels    map[string]string // of the cluster
	heard     map[api.Shard]bool

	ops      chan op // bound workers: never more are handed out than workers are free
	queue    []op    // operations that wait for a worker: at most one per workload
	free     int
	observes chan uint64 // bound 1: number of the list that is to be made
	lists    uint64      // lists begun
	listing  bool
	listAt   time.Duration // of the next list
	listed   map[api.SessionID][]Workload
	known    bool // the last list succeeded
	lastList uint64
	capacity *api.Capacity
	reported *api.Capacity
	recount  bool                   // the capacity that the hub knows may be wrong
	unsent   map[api.SessionID]bool // sessions with events that may be sent
	orphans  map[WorkloadID]stopCall
	compact  int64 // size of the journal at which compaction is considered
}

func newLoop(s *Spoke) *loop {
	return &loop{s: s, cfg: s.cfg, log: s.cfg.Log, st: newState(), began: time.Now(), dirty: map[api.SessionID]bool{}, heard: map[api.Shard]bool{},
		ops: make(chan op, workers), free: workers, observes: make(chan uint64, 1), listed: map[api.SessionID][]Workload{},
		orphans: map[WorkloadID]stopCall{}, unsent: map[api.SessionID]bool{}, compact: compactAbove}
}

// replay rebuilds the state from the journal.
func (l *loop) replay() error {
	n := 0
	err := l.cfg.Journal.Replay(func(b []byte) error {
		r, err := decodeRecord(b)
		if err == nil {
			err = l.st.apply(r)
		}
		if err != nil {
			return fmt.Errorf("record %d of the journal: %w", n, err)
		}
		n++
		return nil
	})
	if err != nil {
		return fmt.Errorf("replay journal: %w", err)
	}
	for id, s := range l.st.sessions {
		l.touch(id)
		l.check(s)
	}
	return nil
}

func (l *loop) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if len(l.dirty) == 0 {
			timer.Reset(max(0, l.next()-time.Since(l.began)))
			select {
			case <-ctx.Done():
				return ctx.Err()
			case in := <-l.s.in:
				l.take(in)
			case <-timer.C:
			}
		} else if ctx.Err() != nil {
			return ctx.Err()
		}
		l.gather()
		if err := l.round(); err != nil {
			return err
		}
	}
}

// gather takes what waits besides, so that one sync of the journal serves all of it.
func (l *loop) gather() {
	for range gatherBound {
		select {
		case in := <-l.s.in:
			l.take(in)
		default:
			return
		}
	}
}

func (l *loop) take(in input) {
	l.now = time.Since(l.began)
	l.answers = append(l.answers, in.apply(l))
}

func (l *loop) round() error {
	l.now = time.Since(l.began)
	if l.wake > 0 && l.now >= l.wake {
		l.wake = 0
		l.touchAll()
	}
	if l.connected && l.sendAt > 0 && l.now >= l.sendAt {
		l.touchAll() // what could not be said
	}
	l.planAll()
	if err := l.commit(); err != nil {
		return err
	}
	for _, do := range l.effects {
		do()
	}
	l.effects = l.effects[:0]
	l.send()
	l.dispatch()
	l.s.metrics.sessions.Set(float64(len(l.st.sessions)))
	l.s.metrics.kept.Set(float64(l.st.bytes))
	return nil
}

// next is when the loop has something to do though nothing happens.
func (l *loop) next() time.Duration {
	at := l.listAt
	if l.listing {
		at = l.now + time.Hour // its result wakes the loop
	}
	if l.wake > 0 {
		at = min(at, l.wake)
	}
	if l.connected && l.sendAt > 0 {
		at = min(at, l.sendAt)
	}
	return at
}

// change makes a change and puts it into this round's journal append.
func (l *loop) change(r record) {
	if err := l.st.apply(r); err != nil {
		panic(fmt.Sprintf("change contradicts the state: %v", err))
	}
	b, err := encodeRecord(r)
	if err != nil {
		panic(err.Error())
	}
	l.batch = append(l.batch, b)
	if id := sessionOf(r); id != "" {
		l.touch(id)
	}
	switch r := r.(type) {
	case eventsRecord:
		l.unsent[r.Session] = true
	case ackedRecord:
		l.unsent[r.Session] = true
	case verdictRecord, forgottenRecord, begunRecord:
		l.recount = true
	}
}

// commit makes this round's changes durable and answers who waits for them.
func (l *loop) commit() error {
	var err error
	if len(l.batch) > 0 {
		begin := time.Now()
		err = l.cfg.Journal.Append(l.batch)
		if api.CodeOf(err) == api.CodeLimit { // most of it may be settled long since
			err = l.compactJournal()
		}
		l.s.metrics.append.Observe(time.Since(begin).Seconds())
		l.s.metrics.records.Add(float64(len(l.batch)))
		clear(l.batch)
		l.batch = l.batch[:0]
	}
	for _, answer := range l.answers {
		answer(err)
	}
	clear(l.answers)
	l.answers = l.answers[:0]
	if err != nil {
		return fmt.Errorf("keep changes: %w", err)
	}
	if size := l.cfg.Journal.Size(); size > l.compact {
		if size > 4*l.st.bytes {
			if err := l.compactJournal(); err != nil {
				return err
			}
		}
		l.compact = max(compactAbove, 2*l.cfg.Journal.Size())
	}
	return nil
}

func (l *loop) compactJournal() error {
	before := l.cfg.Journal.Size()
	var records [][]byte
	for _, r := range l.st.snapshot() {
		b, err := encodeRecord(r)
		if err != nil {
			return err
		}
		records = append(records, b)
	}
	if err := l.cfg.Journal.Compact(records); err != nil {
		return fmt.Errorf("compact journal: %w", err)
	}
	l.log.Info("journal compacted", "before", before, "bytes", l.cfg.Journal.Size())
	return nil
}

// touch makes a session be planned in this round.
func (l *loop) touch(id api.SessionID) {
	if s := l.st.sessions[id]; s != nil {
		s.note(l.now)
		l.dirty[id] = true
	}
}

func (l *loop) touchAll() {
	for id := range l.st.sessions {
		l.touch(id)
	}
}

// check asks the runtime whether it can run the session's revision.
func (l *loop) check(s *session) {
	s.Refusal = ""
	if s.Revision == nil || s.Verdict != undecided {
		return
	}
	if err := l.cfg.Runtime.Refuse(s.Revision); err != nil {
		s.Refusal = err.Error()
	}
}
