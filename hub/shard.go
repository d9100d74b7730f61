package hub

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nave-dev/nave/api"
)

// Bounds of one batch, from the way of a signal: at most so many operations and bytes; one event's mutations never split.
const (
	batchOps   = 120 // a list of signals for one session, its record, and some deletions; etcd takes 128 by default
	batchBytes = 1 << 20
	inboxSize  = 256 // events that wait for a shard; a full inbox makes senders wait

	// tidyOps is how many deletions from the outbox may wait for a batch to go with. What the archive has may stay in the outbox:
	// whoever loads the shard finds it in both, and deletes it. A transaction of their own would cost as much as a signal.
	tidyOps = 32
)

// loop owns one shard: its memory, its head, and the order of what happens to it. All that it reaches is in ports.
type loop struct {
	ports  CorePorts
	shard  api.Shard
	limits Limits
	now    func() time.Time // what stands in records
	inbox  chan event
	m      *machine
	held   []effSide  // events for side branches that the archive could not take yet
	tidy   []Mutation // deletions from the outbox that go with the next batch; at most tidyOps

	census  atomic.Pointer[census] // what the metrics show
	counted time.Time              // when census was made
}

func newLoop(shard api.Shard, ports CorePorts, limits Limits, now func() time.Time) *loop {
	return &loop{ports: ports, shard: shard, limits: limits, now: now, inbox: make(chan event, inboxSize)}
}

// evQuery reads memory in the loop's goroutine. The function must not keep what it gets.
type evQuery struct {
	read func(*machine)
	done chan struct{} // closed after read
}

func (evQuery) isEvent() {}

// run claims and loads the shard, then serves it. A shard that was taken over by another owner is claimed no more. All shards
// are claimed at once, since store and archive write what waits with one sync; reading is behind the gate.
func (l *loop) run(ctx context.Context, gate chan struct{}, loaded *atomic.Int32) error {
	head, err := l.own(ctx)
	if err != nil {
		return err
	}
	select {
	case gate <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	first, err := l.load(ctx, head)
	<-gate
	if err != nil {
		return err
	}
	loaded.Add(1)
	defer loaded.Add(-1)
	if err := l.perform(ctx, first); err != nil {
		return err
	}
	l.count()
	for {
		select {
		case <-ctx.Done():
			return nil
		case ev := <-l.inbox:
			if err := l.turn(ctx, l.gather(ev)); err != nil {
				return err
			}
			l.count()
		}
	}
}

// count makes the census, once a second at most.
func (l *loop) count() {
	if now := time.Now(); now.Sub(l.counted) >= censusEvery {
		l.counted = now
		l.census.Store(l.m.census())
	}
}

// gather takes what waits in the inbox.
func (l *loop) gather(first event) []event {
	events := spread(nil, first)
	for len(events) < batchOps {
		select {
		case ev := <-l.inbox:
			events = spread(events, ev)
		default:
			return events
		}
	}
	return events
}

// turn takes events, makes what they change durable, and performs their effects. It takes several for one batch.
func (l *loop) turn(ctx context.Context, events []event) error {
	l.lookUp(ctx, events)
	var (
		muts  = l.tidy
		effs  []effect
		bytes int
		now   = l.now()

		records = map[api.SessionID]int{} // where muts has the record of a session
		tidy    = true                    // nothing but deletions from the outbox is in muts, and there is no hurry
	)
	l.tidy = nil
	if n := len(events); n > 1 {
		muts = slices.Grow(muts, min(2*n, batchOps))
	}
	settle := func() error {
		if err := l.commit(ctx, muts); err != nil {
			return err
		}
		err := l.perform(ctx, effs)
		muts, effs, bytes = nil, nil, 0
		clear(records)
		return err
	}
	for len(events) > 0 {
		ev := events[0]
		events = events[1:]
		if q, ok := ev.(evQuery); ok {
			q.read(l.m)
			close(q.done)
			continue
		}
		if _, ok := ev.(evFacts); ok {
			l.retrySide(ctx)
			tidy = false // a shard at rest keeps its outbox empty
		}
		o := l.m.step(now, ev)
		o.effects = l.answeredEarly(o.effects)
		events = append(o.next, events...)
		if o.guard == nil {
			o = joined(o, batchOps-len(muts), batchBytes-bytes)
		}
		size := Batch{Mutations: o.mutations}.size()
		if o.guard != nil || len(o.apart) > 0 || len(muts) > 0 && (len(muts)+len(o.mutations) > batchOps || bytes+size > batchBytes) {
			if err := settle(); err != nil {
				return err
			}
		}
		if o.guard != nil {
			if err := l.assign(ctx, now, o); err != nil {
				return err
			}
			continue
		}
		if err := l.commitApart(ctx, o.apart); err != nil {
			return err
		}
		muts, effs, bytes = together(muts, o.mutations, records), append(effs, o.effects...), bytes+size
	}
	if tidy = tidy && len(muts) <= tidyOps && allTidy(muts); tidy {
		l.tidy, muts = muts, nil
	}
	return settle()
}

// together appends mutations to those of the same batch. Of several records of one session the last one counts: it alone is
// written, where the first one was.
func together(muts, more []Mutation, records map[api.SessionID]int) []Mutation {
	for _, mu := range more {
		switch {
		case mu.PutSession != nil:
			if i, there := records[mu.PutSession.ID]; there {
				muts[i] = mu
				continue
			}
			records[mu.PutSession.ID] = len(muts)
		case mu.DeleteSession != "":
			delete(records, mu.DeleteSession)
		}
		muts = append(muts, mu)
	}
	return muts
}

// joined puts what may be committed apart before the rest, if all of it has room in the batch: a transaction less.
func joined(o output, ops, bytes int) output {
	if len(o.apart) == 0 {
		return o
	}
	all := append(slices.Concat(o.apart...), o.mutations...)
	if len(all) > ops || (Batch{Mutations: all}).size() > bytes {
		return o
	}
	o.apart, o.mutations = nil, all
	return o
}

func allTidy(muts []Mutation) bool {
	return !slices.ContainsFunc(muts, func(m Mutation) bool { return m.DeleteOutbox == nil })
}

// assign commits an assignment alone, guarded by the cluster's lease, and tells the machine how it ended.
func (l *loop) assign(ctx context.Context, now time.Time, o output) error {
	ok, err := l.write(ctx, Batch{Shard: l.shard, From: l.m.head, Mutations: o.mutations, Alive: []api.ClusterID{o.guard.cluster}})
	if err != nil {
		return err
	}
	if err := l.perform(ctx, o.effects); err != nil {
		return err
	}
	ev := o.guard.assigned
	ev.ok = ok
	outcome := "assigned"
	if !ok {
		outcome = "not_alive"
	}
	l.ports.tell(func(m *metrics) { m.placements.WithLabelValues(outcome).Inc() })
	next := l.m.step(now, ev)
	if err := l.commit(ctx, next.mutations); err != nil {
		return err
	}
	return l.perform(ctx, next.effects)
}

// commit makes mutations durable.
func (l *loop) commit(ctx context.Context, muts []Mutation) error {
	if len(muts) == 0 {
		return nil
	}
	_, err := l.write(ctx, Batch{Shard: l.shard, From: l.m.head, Mutations: muts})
	return err
}

// commitApart makes groups of mutations durable, as many at a time as a batch takes.
func (l *loop) commitApart(ctx context.Context, groups [][]Mutation) error {
	for len(groups) > 0 {
		muts, bytes, n := groups[0], Batch{Mutations: groups[0]}.size(), 1
		for n < len(groups) && len(muts)+len(groups[n]) <= batchOps {
			if bytes += (Batch{Mutations: groups[n]}).size(); bytes > batchBytes {
				break
			}
			muts = append(muts[:len(muts):len(muts)], groups[n]...)
			n++
		}
		if err := l.commit(ctx, muts); err != nil {
			return err
		}
		groups = groups[n:]
	}
	return nil
}

// write commits a batch and finds out what became of it: applied, or refused by its guard (false). It ends with an error
// when the shard has another owner or ctx ends.
func (l *loop) write(ctx context.Context, b Batch) (bool, error) {
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := l.ports.Shards.Commit(ctx, []Batch{b})
		if err == nil {
			l.m.head = b.Next()
			return true, nil
		}
		head, herr := l.ports.Shards.Head(ctx, l.shard)
		switch {
		case herr != nil: // unknown: ask again
		case head == b.Next():
			l.m.head = head
			return true, nil
		case head.Generation != b.From.Generation:
			return false, api.Errorf(api.CodeConflict, "shard %d has another owner: generation %s, ours was %s", l.shard, head.Generation, b.From.Generation)
		case len(b.Alive) > 0 && api.CodeOf(err) == api.CodeConflict:
			return false, nil
		}
		l.ports.tell(func(m *metrics) { m.repeats.Inc() })
		l.ports.Logger.Warn("commit repeated", "shard", l.shard, "error", err)
		if err := l.ports.Pause(ctx, wait); err != nil {
			return false, err
		}
	}
}
