package hub

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nave-dev/nave/api"
)

// Signal accepts a message to a session. It returns when the signal is durable, or refused.
func (h *Hub) Signal(ctx context.Context, r SignalRequest) (api.Accepted, error) {
	if err := checkSignal(r); err != nil {
		return api.Accepted{}, err
	}
	r.Origin = nil
	return h.receive(ctx, r)
}

// checkSignal checks the form of a message.
func checkSignal(r SignalRequest) error {
	if err := api.ValidateName("agent", r.Agent); err != nil {
		return err
	}
	if err := api.ValidateSessionKey("key", r.Key); err != nil {
		return err
	}
	if len(r.Payload) == 0 {
		return api.Invalid("payload", "is empty: say something to the agent")
	}
	if len(r.Payload) > api.MaxPayload {
		return &api.Error{Code: api.CodeLimit, Field: "payload", Err: api.Errorf(api.CodeLimit, "%d bytes: at most %d are allowed", len(r.Payload), api.MaxPayload)}
	}
	return api.ValidateIdempotencyKey("idempotency_key", r.IdempotencyKey)
}

// receive takes a message whose form was checked.
func (h *Hub) receive(ctx context.Context, r SignalRequest) (api.Accepted, error) {
	agent, err := h.cfg.Resolver.Agent(ctx, r.Org, r.Agent)
	if err != nil {
		return api.Accepted{}, err
	}
	ev, err := h.arrive(ctx, r, agent)
	if err != nil {
		return api.Accepted{}, err
	}
	return h.accept(ctx, ev)
}

// arrive brings a large payload to the bucket, which must have it before the signal is accepted.
func (h *Hub) arrive(ctx context.Context, r SignalRequest, agent api.ObjectID) (*evSignal, error) {
	ev := arrival(r, agent)
	if len(r.Payload) > api.MaxPayloadInline && !r.DryRun {
		var err error
		if ev.signal.PayloadRef, err = h.cfg.Bucket.Put(ctx, r.Org, r.Payload); err != nil {
			return nil, err
		}
		ev.signal.Payload = nil
	}
	return ev, nil
}

// arrival is a signal at the door, without its ids.
func arrival(r SignalRequest, agent api.ObjectID) *evSignal {
	return &evSignal{org: r.Org, agent: agent, agentName: r.Agent, key: r.Key, dryRun: r.DryRun,
		signal: api.Signal{IdempotencyKey: r.IdempotencyKey, Payload: r.Payload, PayloadHash: sha256.Sum256(r.Payload), Sender: r.Sender, Origin: r.Origin}}
}

// accept makes the ids and brings the signal to its shard.
func (h *Hub) accept(ctx context.Context, ev *evSignal) (api.Accepted, error) {
	shard := api.ShardFor(ev.org, ev.agent, ev.key)
	e1, err := h.entropy()
	if err != nil {
		return api.Accepted{}, err
	}
	e2, err := h.entropy()
	if err != nil {
		return api.Accepted{}, err
	}
	now := time.Now().UTC()
	ev.newID, ev.signal.ID = api.NewSessionID(now, shard, e1), api.SignalID(api.NewULID(now, e2))
	ev.orgFull = h.quota.of(ev.org) >= h.cfg.Limits.PendingPerOrg
	reply := make(chan signalReply, 1)
	ev.reply = func(r signalReply) { reply <- r }
	if err := h.post(ctx, shard, ev); err != nil {
		return api.Accepted{}, err
	}
	select {
	case a := <-reply:
		return a.accepted, a.err
	case <-ctx.Done():
		return api.Accepted{}, unknownOutcome(ctx)
	}
}

// unknownOutcome says that a signal may have been accepted: with an idempotency key the caller can ask again.
func unknownOutcome(ctx context.Context) error {
	return &api.Error{Code: api.CodeUnavailable, Op: "signal", Err: context.Cause(ctx)}
}

// query reads the memory of every shard, one after another.
func (h *Hub) query(ctx context.Context, read func(*machine)) error {
	for i := range h.loops {
		if err := h.queryShard(ctx, api.Shard(i), read); err != nil {
			return err
		}
	}
	return nil
}

// queryShard reads the memory of one shard in its loop's goroutine.
func (h *Hub) queryShard(ctx context.Context, shard api.Shard, read func(*machine)) error {
	q := evQuery{read, make(chan struct{})}
	if err := h.post(ctx, shard, q); err != nil {
		return err
	}
	select {
	case <-q.done:
		return nil
	case <-ctx.Done():
		return &api.Error{Code: api.CodeUnavailable, Op: "read shard", Err: context.Cause(ctx)}
	}
}

func (s *session) view() SessionView {
	v := SessionView{Session: s.Session, Pending: len(s.pending), Asking: s.open()}
	for i := range s.pending {
		if s.pending[i].Consumed() {
			v.Consumed++
		}
	}
	if s.Assignment != nil {
		a := *s.Assignment
		v.Assignment = &a
	}
	return v
}

// Session returns one session of an organization, also one that was terminated.
func (h *Hub) Session(ctx context.Context, org api.OrgID, id api.SessionID) (SessionView, error) {
	shard, err := id.Shard()
	if err != nil {
		return SessionView{}, api.Invalid("id", "%v", err)
	}
	var v SessionView
	found := false
	err = h.queryShard(ctx, shard, func(m *machine) {
		if s := m.sessions[id]; s != nil && s.Org == org {
			v, found = s.view(), true
		}
	})
	if err == nil && !found {
		return h.past(ctx, org, id)
	}
	return v, err
}

// past returns a session that was terminated, as it was at its end.
func (h *Hub) past(ctx context.Context, org api.OrgID, id api.SessionID) (SessionView, error) {
	rec, err := h.cfg.Reader.Terminated(ctx, org, id)
	if api.CodeOf(err) == api.CodeNotFound {
		err = noSession(id)
	}
	return SessionView{Session: rec}, err
}

// Sessions lists sessions by id, after the page token, which is the last id of the page before.
func (h *Hub) Sessions(ctx context.Context, org api.OrgID, f SessionFilter, pageSize int, pageToken string) ([]SessionView, string, error) {
	pages, err := NewPager(pageSize, pageToken, "sessions", string(org), fmt.Sprint(f))
	if err != nil {
		return nil, "", err
	}
	var all []SessionView
	err = h.query(ctx, func(m *machine) {
		for id, s := range m.sessions {
			if s.Org == org && string(id) > pages.After && f.matches(s) {
				all = append(all, s.view())
			}
		}
	})
	if err != nil {
		return nil, "", err
	}
	slices.SortFunc(all, func(a, b SessionView) int { return strings.Compare(string(a.ID), string(b.ID)) })
	if len(all) > pages.Size {
		return all[:pages.Size], pages.Token(string(all[pages.Size-1].ID)), nil
	}
	return all, "", nil
}

func (f SessionFilter) matches(s *session) bool {
	return (f.Agent == "" || s.Agent == f.Agent) && (f.Phase == "" || s.Phase == f.Phase) &&
		(f.Cluster == "" || s.Assignment != nil && s.Assignment.Cluster == f.Cluster) && api.MatchAll(f.Selector, s.Labels)
}

// eventsPage is how many events are read from the archive at a time.
const eventsPage = 500

// Events sends a session's log from a number on, in order, and with follow goes on with what comes until ctx ends. limit 0
// is none.
func (h *Hub) Events(ctx context.Context, org api.OrgID, id api.SessionID, from uint64, follow bool, limit uint32, send func([]api.Event) error) error {
	return h.follow(ctx, org, id, from, follow, limit, send, nil)
}

// Live follows as Events does, and also sends text while it is written. What a slow reader does not take of that is dropped;
// the event that has it whole comes in any case.
func (h *Hub) Live(ctx context.Context, org api.OrgID, id api.SessionID, from uint64, limit uint32, send func([]api.Event) error, pour func(api.Delta) error) error {
	return h.follow(ctx, org, id, from, true, limit, send, pour)
}

func (h *Hub) follow(ctx context.Context, org api.OrgID, id api.SessionID, from uint64, follow bool, limit uint32, send func([]api.Event) error, pour func(api.Delta) error) error {
	if _, err := h.Session(ctx, org, id); err != nil {
		return err
	}
	r, unsubscribe := h.feed.subscribe(id, pour != nil)
	defer unsubscribe()
	next, left := max(from, 1), int(limit)
	for {
		page := eventsPage
		if limit > 0 {
			page = min(page, left)
		}
		events, known := r.take(next, page)
		if !known {
			var err error
			if events, err = h.cfg.Reader.Events(ctx, org, id, next, page); err != nil {
				return err
			}
		}
		if len(events) > 0 {
			if err := send(events); err != nil {
				return err
			}
			next = events[len(events)-1].Number + 1
			left -= len(events)
		}
		switch {
		case limit > 0 && left <= 0:
			return nil
		case len(events) == page:
			continue
		case !follow:
			return nil
		}
		if err := r.wait(ctx, pour); err != nil {
			return err
		}
	}
}

// wait returns when the log has grown. Until then it passes deltas on.
func (r *reader) wait(ctx context.Context, pour func(api.Delta) error) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-r.wake:
			return nil
		case d := <-r.deltas:
			if err := pour(d); err != nil {
				return err
			}
		}
	}
}
