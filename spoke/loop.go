package spoke

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/fault"
)

// loop owns the state. One round: take what waits, plan what it touched, journal all changes at once, then answer and act.
// It starts nothing and waits for nothing but the journal: [Spoke.Run] and [Core] drive it.
type loop struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	status  *status
	st      *state
	began   time.Duration // of this process, by the boot-time clock
	now     time.Duration // of this round
	asked   time.Duration // when the door was asked about its harnesses
	right   right

	batch   [][]byte      // changes of this round, encoded
	must    bool          // some of them do not wait: they are appended in this round
	lazy    time.Duration // when the first change came that waits to be appended; 0: there is none
	late    [][]byte      // of the round before: only with a planted fault
	answers []func(error) // to be called when they are durable
	effects []func()      // to be done then
	held    []api.Held    // to be sent then
	calls   []Call        // to be performed then, by whom drives the loop
	dirty   map[api.SessionID]bool
	wake    time.Duration // when some session is due, 0: none; may be too early, never too late

	connected bool
	helloAt   time.Duration     // when the present connection's hello was asked for
	sendAt    time.Duration     // not before this is anything sent: the queue was full
	cluster   api.ClusterID     // from the hub's welcome
	labels    map[string]string // of the cluster
	heard     map[api.Shard]bool

	queue    []Call // operations that wait for a worker: at most one per workload
	free     int    // workers that are free
	lists    uint64 // lists begun
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

// newLoop makes a loop of a configuration that was checked.
func newLoop(cfg Config, m *metrics, st *status) *loop {
	now := cfg.Clock()
	return &loop{cfg: cfg, log: cfg.Log, metrics: m, status: st, st: newState(), began: now, now: now, dirty: map[api.SessionID]bool{},
		heard: map[api.Shard]bool{}, free: workers, listed: map[api.SessionID][]Workload{}, orphans: map[WorkloadID]stopCall{},
		unsent: map[api.SessionID]bool{}, compact: compactAbove}
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
		l.inherit(s)
		l.touch(id)
		l.check(s)
	}
	l.status.replayed.Store(true)
	l.log.Info("journal replayed", "journal", l.cfg.Journal.ID(), "sessions", len(l.st.sessions), "bytes", l.cfg.Journal.Size())
	return nil
}

func (l *loop) take(in Input) {
	l.look()
	l.answers = append(l.answers, in.apply(l))
}

// look reads the clock.
func (l *loop) look() {
	now := l.cfg.Clock()
	before := l.right.Held
	l.right = l.right.looked(l.now, now)
	if l.right.Held && !before {
		l.log.Warn("the clock jumped: nothing is started or prolonged until the hub answers", "by", (now - l.now).String())
		l.touchAll()
	}
	l.now = now
}

// round does everything that follows from what was taken. A round without anything taken is a tick.
func (l *loop) round() error {
	l.look()
	l.askDoor()
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
	l.metrics.sessions.Set(float64(len(l.st.sessions)))
	l.metrics.kept.Set(float64(l.st.bytes))
	return nil
}

// next is when the loop has something to do though nothing happens.
func (l *loop) next() time.Duration {
	if len(l.dirty) > 0 {
		return l.now
	}
	at := l.now + tickEvery
	if !l.listing {
		at = min(at, l.listAt)
	}
	if l.wake > 0 {
		at = min(at, l.wake)
	}
	if l.connected && l.sendAt > 0 {
		at = min(at, l.sendAt)
	}
	if l.lazy > 0 {
		at = min(at, l.lazy+lazyFor)
	}
	return at
}

// change makes a change and puts it into this round's journal append.
func (l *loop) change(r record) {
	waits := l.st.mayWait(r)
	if err := l.st.apply(r); err != nil {
		panic(fmt.Sprintf("change contradicts the state: %v", err))
	}
	b, err := encodeRecord(r)
	if err != nil {
		panic(err.Error())
	}
	l.batch = append(l.batch, b)
	if !waits {
		l.must = true
	} else if l.lazy == 0 {
		l.lazy = l.now
	}
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
	case lapsedRecord:
		l.metrics.lapses.Inc()
		l.log.Warn("the right to act has lapsed: the session is stopped", "session", string(r.Session), "epoch", r.Epoch.String())
	case endedRecord:
		if r.Failure != "" {
			l.metrics.startFailures.Inc()
		}
	}
}

// commit makes this round's changes durable and answers who waits for them.
func (l *loop) commit() error {
	var err error
	if l.due() {
		begin := time.Now()
		if err = l.append(); api.CodeOf(err) == api.CodeLimit { // most of it may be settled long since
			err = l.compactJournal()
		}
		l.metrics.append.Observe(time.Since(begin).Seconds())
		l.metrics.records.Add(float64(len(l.batch)))
		l.emptied()
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

// What only says how far the hub is waits for the next append, in its place among the changes: nobody waits for that it is
// durable, and the hub says it again. Without an acknowledgement a restarted spoke sends events again that the hub has, and is
// told so; without the word that signals are settled it keeps them until the next connection, which begins with everything;
// without a position of the same owner it knows of an earlier one.
const (
	lazyFor     = tickEvery
	lazyRecords = 1000
)

// mayWait reports that a change may wait for the next append. It is asked before the change is made.
func (st *state) mayWait(r record) bool {
	switch r := r.(type) {
	case ackedRecord:
		return true
	case inboxRecord:
		return len(r.Put) == 0
	case positionRecord:
		return st.positions[r.Position.Shard].Generation == r.Position.Head.Generation
	}
	return false
}

// due reports whether there is something to append in this round.
func (l *loop) due() bool {
	return l.must || len(l.batch) > lazyRecords || l.lazy > 0 && l.now >= l.lazy+lazyFor
}

// emptied begins a batch.
func (l *loop) emptied() {
	clear(l.batch)
	l.batch, l.must, l.lazy = l.batch[:0], false, 0
}

func (l *loop) append() error {
	if fault.On(fault.JournalWithoutSync) {
		before := l.late
		l.late = slices.Clone(l.batch)
		if len(before) == 0 {
			return nil
		}
		return l.cfg.Journal.Append(before)
	}
	return l.cfg.Journal.Append(l.batch)
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
	l.late = nil
	l.emptied() // the state has them
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
