package hub

import (
	"context"
	"time"

	"github.com/nave-dev/nave/api"
)

// inOrder takes a cluster's order: what shards are told of it waits until unlock is called.
func (l *liveness) inOrder(ctx context.Context, id api.ClusterID) (unlock func(), err error) {
	l.mu.Lock()
	order := l.member(id).order
	l.mu.Unlock()
	select {
	case order <- struct{}{}:
		return func() { <-order }, nil
	case <-ctx.Done():
		return nil, &api.Error{Code: api.CodeUnavailable, Op: "attach", Err: context.Cause(ctx)}
	}
}

// tryOrder takes a cluster's order if nobody has it.
func (l *liveness) tryOrder(id api.ClusterID) (unlock func()) {
	l.mu.Lock()
	order := l.member(id).order
	l.mu.Unlock()
	select {
	case order <- struct{}{}:
		return func() { <-order }
	default:
		return nil
	}
}

// timetable is a time for each shard, in seconds: every link has one.
type timetable struct {
	from time.Time
	at   [api.Shards]uint32 // seconds since from
}

// set sets a time, given from the beginning of the table, to the next full second.
func (t *timetable) set(i int, after time.Duration) {
	t.at[i] = uint32((after + time.Second - 1) / time.Second)
}

// due reports whether a time has come.
func (t *timetable) due(i int, now time.Time) bool {
	return now.Sub(t.from) >= time.Duration(t.at[i])*time.Second
}

// pause is until a shard says everything again. The caller holds mu, which guards the randomness too.
func (l *liveness) pause() time.Duration {
	return l.h.cfg.Resync + time.Duration(l.h.cfg.Jitter.Int64N(int64(l.h.cfg.Resync)))
}

// repeat asks shards for everything where it is time, or where a link had to leave something out.
func (l *liveness) repeat() {
	type wish struct {
		a     *Attachment
		shard api.Shard
	}
	var due []wish
	now := time.Now()
	l.mu.Lock()
	for _, m := range l.members {
		if m.link == nil {
			continue
		}
		for i := range m.link.again.at {
			if m.link.again.due(i, now) {
				m.link.again.set(i, now.Sub(m.link.again.from)+l.pause())
				due = append(due, wish{m.link, api.Shard(i)})
			}
		}
		if lacking := m.link.mail.lacking(); lacking >= 0 {
			m.link.ask(lacking)
		}
	}
	l.mu.Unlock()
	for _, w := range due {
		if l.h.offer(w.shard, evResync{cluster: w.a.cluster}) { // else it is busy: the next time is soon enough
			l.h.metrics.resyncs.WithLabelValues("periodic").Inc()
		}
	}
}

// everyRounds is how often sessions that wait try again although this replica saw no fact change: definitions change too, and
// the pauses after refusals end.
const everyRounds = 5

// tell lets waiting sessions try again when a fact has changed. A shard that is too busy to be told is told later.
func (l *liveness) tell(ctx context.Context, always bool) {
	l.mu.Lock()
	all := l.dirty || always
	l.dirty = false
	owed := l.owed
	l.owed = map[api.Shard]bool{}
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, tellWithin)
	defer cancel()
	for i := range l.h.loops {
		if shard := api.Shard(i); (all || owed[shard]) && !l.h.offerWithin(ctx, shard, evFacts{}) {
			l.mu.Lock()
			l.owed[shard] = true
			l.mu.Unlock()
		}
	}
}

// changed marks that a fact changed that may have kept sessions from being placed.
func (l *liveness) changed() {
	l.mu.Lock()
	l.dirty = true
	l.mu.Unlock()
}

// silence is a cluster without a lease.
type silence struct {
	id    api.ClusterID
	fresh bool // nobody was told yet
}

// tellLost tells the shards of the clusters whose lease is gone. That a cluster is lost goes to every shard once, and then,
// once a second, to those that have sessions there which do not know it: a shard that was loaded meanwhile hears of it too.
// For how long it is gone goes to every shard that has sessions there. What does not fit into an inbox comes with the next
// round. A cluster whose spoke attaches just now is left out.
func (l *liveness) tellLost(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, tellWithin)
	defer cancel()
	var lost []silence
	l.mu.Lock()
	for id, m := range l.members {
		if m.gone && (m.cluster.Identity != "" || m.cluster.Fence > 0) {
			lost = append(lost, silence{id, !m.told})
		}
	}
	l.mu.Unlock()
	for _, s := range lost {
		if unlock := l.tryOrder(s.id); unlock != nil {
			l.tellOf(ctx, s)
			unlock()
		}
	}
}

func (l *liveness) tellOf(ctx context.Context, s silence) {
	gone := l.h.lostFor(s.id)
	l.mu.Lock()
	m := l.members[s.id]
	still := m != nil && m.gone
	if still {
		m.told = true
	}
	l.mu.Unlock()
	if !still {
		return // it was heard meanwhile
	}
	for i, lo := range l.h.loops {
		shard, c := api.Shard(i), lo.census.Load()
		if s.fresh || c != nil && c.unaware[s.id] {
			l.h.offerWithin(ctx, shard, evHealth{cluster: s.id, health: api.HealthLost})
		}
		if c != nil && c.assigned[s.id] {
			l.h.offerWithin(ctx, shard, evFence{cluster: s.id, gone: gone})
		}
	}
}
