package hub

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/nave-dev/nave/api"
)

// SignalResult is what became of one signal of a list.
type SignalResult struct {
	Accepted api.Accepted
	Err      error // CodeUnavailable: it may have been accepted; with an idempotency key it can be sent again
}

// SignalMany accepts messages that stand alone: one that is refused is nobody else's matter. It returns a result for each, in
// order, when each is durable or refused. Those to one session are accepted in the order of the list.
//
// It gives up a little before ctx does, so that the caller still hears what is known by then; the others are unavailable.
func (h *Hub) SignalMany(ctx context.Context, rs []SignalRequest) []SignalResult {
	ctx, cancel := ahead(ctx)
	defer cancel()
	t := newTally(len(rs))
	lists := h.arriveMany(ctx, rs, t)
	// One full inbox must not keep the other shards waiting.
	full := lists[:0]
	for _, l := range lists {
		if !h.offer(l.shard, evSignals{l.signals}) {
			full = append(full, l)
		}
	}
	for _, l := range full {
		if err := h.post(ctx, l.shard, evSignals{l.signals}); err != nil {
			for _, ev := range l.signals {
				ev.reply(signalReply{err: err})
			}
		}
	}
	return t.wait(ctx)
}

// ahead ends before ctx does, by a tenth of the time that is left and at most a second.
func ahead(ctx context.Context) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, end.Add(-min(time.Second, time.Until(end)/10)))
}

// evSignals are signals of one call for one shard. The loop takes it apart before the machine sees it: each of them is a step
// of its own, so that no list is too long for a batch.
type evSignals struct{ signals []*evSignal }

func (evSignals) isEvent() {}

// spread appends an event, or what it consists of.
func spread(events []event, ev event) []event {
	switch ev := ev.(type) {
	case evSignals:
		for _, s := range ev.signals {
			events = append(events, s)
		}
		return events
	case evHello:
		return ev.spread(events)
	}
	return append(events, ev)
}

// shardList is what one shard gets of a call.
type shardList struct {
	shard   api.Shard
	signals []*evSignal // in the order of the call
}

// arriveMany checks signals, answers those that cannot be accepted, and returns the others by shard, ready for it.
func (h *Hub) arriveMany(ctx context.Context, rs []SignalRequest, t *tally) []shardList {
	entropy := make([]byte, 20*len(rs))
	_, entropyErr := io.ReadFull(h.cfg.Random, entropy)
	type name struct {
		org   api.OrgID
		agent string
	}
	type found struct {
		id  api.ObjectID
		err error
	}
	var (
		agents = map[name]found{}
		full   = map[api.OrgID]bool{}
		at     = map[api.Shard]int{}
		lists  []shardList
		now    = time.Now().UTC()
	)
	one := func(i int, r SignalRequest) error {
		if err := checkSignal(r); err != nil {
			return err
		}
		if entropyErr != nil {
			return &api.Error{Code: api.CodeInternal, Op: "make id", Err: entropyErr}
		}
		r.Origin = nil
		n := name{r.Org, r.Agent}
		agent, ok := agents[n]
		if !ok {
			agent.id, agent.err = h.cfg.Resolver.Agent(ctx, r.Org, r.Agent)
			agents[n] = agent
			full[r.Org] = h.quota.of(r.Org) >= h.cfg.Limits.PendingPerOrg
		}
		if agent.err != nil {
			return agent.err
		}
		ev, err := h.arrive(ctx, r, agent.id)
		if err != nil {
			return err
		}
		shard, e := api.ShardFor(ev.org, ev.agent, ev.key), entropy[20*i:]
		ev.newID, ev.signal.ID = api.NewSessionID(now, shard, [10]byte(e[:10])), api.SignalID(api.NewULID(now, [10]byte(e[10:20])))
		ev.orgFull = full[r.Org]
		ev.reply = func(r signalReply) { t.answer(i, r) }
		if _, ok := at[shard]; !ok {
			at[shard] = len(lists)
			lists = append(lists, shardList{shard: shard})
		}
		l := &lists[at[shard]]
		l.signals = append(l.signals, ev)
		return nil
	}
	for i, r := range rs {
		if err := one(i, r); err != nil {
			t.answer(i, signalReply{err: err})
		}
	}
	return lists
}

// tally collects the answers of one call. Shards answer it from their own goroutines, also after the caller has gone.
type tally struct {
	done chan struct{} // closed with the last answer

	mu      sync.Mutex
	results []SignalResult // guarded by mu
	known   []bool         // guarded by mu
	left    int            // guarded by mu
}

func newTally(n int) *tally {
	t := &tally{done: make(chan struct{}), results: make([]SignalResult, n), known: make([]bool, n), left: n}
	if n == 0 {
		close(t.done)
	}
	return t
}

// answer tells what became of a signal, once.
func (t *tally) answer(i int, r signalReply) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.results[i], t.known[i] = SignalResult{r.accepted, r.err}, true
	if t.left--; t.left == 0 {
		close(t.done)
	}
}

// wait returns the answers when all are there, or what there is when ctx ends.
func (t *tally) wait(ctx context.Context) []SignalResult {
	select {
	case <-t.done:
		return t.results
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	results := make([]SignalResult, len(t.results))
	for i := range results {
		if results[i] = t.results[i]; !t.known[i] {
			results[i].Err = unknownOutcome(ctx)
		}
	}
	return results
}
