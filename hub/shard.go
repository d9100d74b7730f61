package hub

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/nave-dev/nave/api"
)

// Bounds of one batch, from the way of a signal: at most so many operations and bytes; one event's mutations never split.
const (
	batchOps   = 100
	batchBytes = 1 << 20
	inboxSize  = 256 // events that wait for a shard; a full inbox makes senders wait
)

// loop owns one shard: its memory, its head, and the order of what happens to it.
type loop struct {
	h     *Hub
	shard api.Shard
	inbox chan event
	m     *machine

	census  atomic.Pointer[census] // what the metrics show
	counted time.Time              // when census was made
}

func newLoop(h *Hub, shard api.Shard) *loop {
	return &loop{h: h, shard: shard, inbox: make(chan event, inboxSize)}
}

// evQuery reads memory in the loop's goroutine. The function must not keep what it gets.
type evQuery struct {
	read func(*machine)
	done chan struct{} // closed after read
}

func (evQuery) isEvent() {}

// run claims and loads the shard, then serves it. A shard that was taken over by another owner is claimed no more.
func (l *loop) run(ctx context.Context, gate chan struct{}) error {
	select {
	case gate <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	first, err := l.load(ctx)
	<-gate
	if err != nil {
		return err
	}
	l.h.loaded.Add(1)
	defer l.h.loaded.Add(-1)
	if err := l.perform(ctx, first); err != nil {
		return err
	}
	l.count()
	for {
		select {
		case <-ctx.Done():
			return nil
		case ev := <-l.inbox:
			if err := l.turn(ctx, ev); err != nil {
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

// turn takes the waiting events, makes what they change durable, and performs their effects.
func (l *loop) turn(ctx context.Context, first event) error {
	events := l.gather(first)
	l.lookUpKeys(ctx, events)
	l.lookUpSources(ctx, events)
	var (
		muts  []Mutation
		effs  []effect
		bytes int
		now   = time.Now().UTC()
	)
	settle := func() error {
		if err := l.commit(ctx, muts); err != nil {
			return err
		}
		err := l.perform(ctx, effs)
		muts, effs, bytes = nil, nil, 0
		return err
	}
	for _, ev := range events {
		if q, ok := ev.(evQuery); ok {
			q.read(l.m)
			close(q.done)
			continue
		}
		o := l.m.step(now, ev)
		size := Batch{Mutations: o.mutations}.size()
		if o.guard != nil || o.loose || len(muts) > 0 && (len(muts)+len(o.mutations) > batchOps || bytes+size > batchBytes) {
			if err := settle(); err != nil {
				return err
			}
		}
		if o.loose {
			for len(o.mutations) > batchOps {
				if err := l.commit(ctx, o.mutations[:batchOps]); err != nil {
					return err
				}
				o.mutations = o.mutations[batchOps:]
			}
		}
		if o.guard != nil {
			if err := l.assign(ctx, now, o); err != nil {
				return err
			}
			continue
		}
		muts, effs, bytes = append(muts, o.mutations...), append(effs, o.effects...), bytes+size
	}
	return settle()
}

// gather takes what waits in the inbox.
func (l *loop) gather(first event) []event {
	events := []event{first}
	for len(events) < batchOps {
		select {
		case ev := <-l.inbox:
			events = append(events, ev)
		default:
			return events
		}
	}
	return events
}

// lookUpKeys asks the archive for the idempotency keys that memory does not know, and for all of them when what was archived
// leaves memory in the same turn. The loop is the only one who moves a key from memory to the archive, so that a key is
// always found in one of them. Without an answer the signal is refused: it
// may have been accepted before.
func (l *loop) lookUpKeys(ctx context.Context, events []event) {
	scopes, leaving := map[api.OrgID][]KeyScope{}, false
	for _, ev := range events {
		if _, ok := ev.(evArchived); ok {
			leaving = true
		}
		if s, ok := ev.(evSignal); ok && s.signal.IdempotencyKey != "" {
			scope := KeyScope{s.agent, s.key, s.signal.IdempotencyKey}
			if leaving || l.m.idem[scope] == nil {
				scopes[s.org] = append(scopes[s.org], scope)
			}
		}
	}
	for org, keys := range scopes {
		found, err := l.h.cfg.Archive.Keys(ctx, org, keys)
		for i, ev := range events {
			s, ok := ev.(evSignal)
			if !ok || s.org != org || s.signal.IdempotencyKey == "" {
				continue
			}
			if row, ok := found[KeyScope{s.agent, s.key, s.signal.IdempotencyKey}]; ok {
				s.settled = &row
			}
			if err != nil {
				s.unknown = &api.Error{Code: api.CodeUnavailable, Op: "look up idempotency key", Err: err}
			}
			events[i] = s
		}
	}
}

// lookUpSources asks the archive how far it has the sources of former epochs, which memory does not keep. Without an answer
// the events stay at their spoke.
func (l *loop) lookUpSources(ctx context.Context, events []event) {
	var positions map[api.SessionID]LogPosition
	for i, ev := range events {
		e, ok := ev.(evEvents)
		if !ok {
			continue
		}
		s := l.m.sessions[e.batch.Session]
		if s == nil || e.batch.Source.Epoch.Compare(s.Epoch) >= 0 || s.log.settled[e.batch.Source] > 0 {
			continue
		}
		if positions == nil {
			var err error
			if positions, err = l.h.cfg.Archive.Positions(ctx, l.shard); err != nil {
				l.h.log.Warn("positions of former epochs not read", "shard", l.shard, "error", err)
				return
			}
		}
		e.archived = positions[s.ID].Sources[e.batch.Source]
		events[i] = e
	}
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
	if ok {
		l.h.metrics.placements.WithLabelValues("assigned").Inc()
	} else {
		l.h.metrics.placements.WithLabelValues("not_alive").Inc()
	}
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

// write commits a batch and finds out what became of it: applied, or refused by its guard (false). It ends with an error
// when the shard has another owner or ctx ends.
func (l *loop) write(ctx context.Context, b Batch) (bool, error) {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := l.h.commits.commit(ctx, b)
		if err == nil {
			l.m.head = b.Next()
			return true, nil
		}
		head, herr := l.h.cfg.Shards.Head(ctx, l.shard)
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
		l.h.metrics.repeats.Inc()
		l.h.log.Warn("commit repeated", "shard", l.shard, "error", err)
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// perform does what a durable batch leads to, in order.
func (l *loop) perform(ctx context.Context, effs []effect) error {
	at := api.Position{Shard: l.shard, Head: l.m.head}
	for _, e := range effs {
		switch e := e.(type) {
		case effReply:
			l.h.metrics.signalled(e.reply)
			e.to <- e.reply
		case effPlace:
			l.h.placer.ask(e.request)
		case effAppend:
			if err := l.h.archiver.submit(ctx, l.shard, e.appends); err != nil {
				return err
			}
		case effSend:
			l.h.fleet.send(e.cluster, api.HubMessage{Updates: []api.ShardUpdate{{Position: at, Full: e.full, Sessions: e.sessions}}})
		case effAck:
			l.h.fleet.send(e.cluster, api.HubMessage{Acks: []api.Ack{e.ack}})
		case effPending:
			l.h.quota.add(e.org, e.n)
		case effNotify:
			l.h.feed.notify(e.session)
		case effUnplace:
			if !e.dead {
				l.h.metrics.placements.WithLabelValues("dropped").Inc()
			}
			l.h.fleet.unplace(e.cluster, e.session, e.dead)
		case effGap:
			l.h.metrics.gaps.Inc()
			l.h.fleet.cut(e.cluster, e.err)
		case effStale:
			l.h.metrics.stale.Inc()
			l.h.log.Warn("report of another epoch", "cluster", e.cluster, "session", e.session, "epoch", e.epoch.String())
		}
	}
	return nil
}
