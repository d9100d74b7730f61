package hub

import (
	"context"
	"slices"
	"time"

	"github.com/nave-dev/nave/api"
)

// Attachment is the link of one spoke.
type Attachment struct {
	h         *Hub
	cluster   api.ClusterID
	identity  string
	boot      string
	mail      *mailbox
	alone     time.Time     // since when nothing but acknowledgements waits; zero: that is not so; of Next
	wake      chan struct{} // capacity 1
	transfers chan struct{} // one place per transfer of a checkpoint that is under way
	ctx       context.Context
	cancel    context.CancelCauseFunc // ends the link; the first cause counts

	again timetable // when each shard says everything again; guarded by the lock of liveness
}

// Attach begins the link of a spoke whose overlay identity was proved. It decides in the store that this boot is the live
// one of its cluster. The caller must call Close.
func (h *Hub) Attach(ctx context.Context, identity string, hello api.Hello) (*Attachment, api.Welcome, error) {
	fail := func(err error) (*Attachment, api.Welcome, error) {
		return nil, api.Welcome{}, &api.Error{Code: api.CodeOf(err), Op: "attach", Err: err}
	}
	c, err := h.fleet.identify(ctx, identity)
	if err != nil {
		return fail(err)
	}
	if hello.ProtocolMin > api.LinkProtocolMax || hello.ProtocolMax < api.LinkProtocolMin {
		return fail(api.Errorf(api.CodeUnsupported, "spoke speaks link protocol %d to %d, hub %d to %d: upgrade the older one", hello.ProtocolMin, hello.ProtocolMax, api.LinkProtocolMin, api.LinkProtocolMax))
	}
	if hello.Boot == "" || hello.Journal == "" || hello.Fingerprint == "" {
		return fail(api.Errorf(api.CodeInvalid, "hello lacks boot, journal or fingerprint"))
	}
	// One at a time per cluster, and never between a look that found it lost and the word of it: what shards hear of a
	// cluster is in the order in which it happened.
	unlock, err := h.fleet.inOrder(ctx, c.ID)
	if err != nil {
		return fail(err)
	}
	defer unlock()
	if c.Fence > 0 {
		if c, err = h.passFence(ctx, c); err != nil {
			return fail(err)
		}
	}
	holder := LeaseHolder{Boot: hello.Boot, Journal: hello.Journal, Fingerprint: hello.Fingerprint, Identity: identity}
	if err := h.cfg.Leases.Take(ctx, c.ID, holder, h.cfg.LeaseTTL); err != nil {
		return fail(h.refusedLease(c, err))
	}
	a := &Attachment{h: h, cluster: c.ID, identity: identity, boot: hello.Boot, mail: newMailbox(h.mailSessions), wake: make(chan struct{}, 1),
		transfers: make(chan struct{}, transfersPerLink)}
	a.ctx, a.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	h.fleet.attach(a, hello)
	h.log.Info("spoke attached", "cluster", c.ID, "name", c.Name, "boot", hello.Boot, "held", len(hello.Held))
	if err := h.greet(ctx, c.ID, hello); err != nil {
		a.Close(err)
		return nil, api.Welcome{}, err
	}
	return a, api.Welcome{Protocol: min(hello.ProtocolMax, api.LinkProtocolMax), Cluster: c.ID, Name: c.Name, Labels: c.Labels, Beat: h.cfg.Beat}, nil
}

// greet tells every shard of a new link what the spoke says that it has.
func (h *Hub) greet(ctx context.Context, c api.ClusterID, hello api.Hello) error {
	all, err := hellos(c, hello)
	if err != nil {
		return err
	}
	for shard, ev := range all {
		if err := h.post(ctx, api.Shard(shard), ev); err != nil {
			return err
		}
	}
	return nil
}

// refusedLease says what a refused lease means, and raises the alarm when somebody else presents a cluster's identity.
func (h *Hub) refusedLease(c api.Cluster, err error) error {
	switch field := api.FieldOf(err); {
	case api.CodeOf(err) == api.CodeNotFound:
		return api.Errorf(api.CodeDenied, "the cluster was removed")
	case api.CodeOf(err) == api.CodeDenied && field == "fingerprint":
		h.Alarm(AlarmFingerprint)
		h.log.Error("a spoke presents another fingerprint than its cluster's first one: a copy of its identity may be in use", "cluster", c.ID, "name", c.Name)
	case api.CodeOf(err) == api.CodeConflict:
		h.metrics.refusedBoots.Inc()
	}
	return err
}

// attach makes a the cluster's link; a former one ends.
func (l *liveness) attach(a *Attachment, hello api.Hello) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.member(a.cluster)
	if m.link != nil {
		m.link.end(api.Errorf(api.CodeConflict, "another link of the same spoke began"))
	}
	m.link = a
	m.hear()
	m.version, m.boot, m.capacity = hello.Version, hello.Boot, hello.Capacity
	for _, held := range hello.Held {
		delete(m.reserved, held.Session)
	}
	a.again.from = time.Now()
	for i := range a.again.at {
		a.again.set(i, l.pause())
	}
	l.dirty = true
}

// detach removes a link unless another one took its place.
func (l *liveness) detach(a *Attachment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.members[a.cluster]; m != nil && m.link == a {
		m.link = nil
	}
}

// Next returns what is to be sent, as one message, when there is something. It is called from one goroutine.
func (a *Attachment) Next(ctx context.Context) (api.HubMessage, error) {
	later := time.NewTimer(time.Hour)
	defer later.Stop()
	for {
		if a.ctx.Err() != nil {
			return api.HubMessage{}, a.reason()
		}
		if !a.mail.calm() {
			a.alone = time.Time{}
		} else if a.alone.IsZero() {
			a.alone = time.Now()
		}
		if wait := time.Until(a.alone.Add(ackPace)); wait > 0 {
			later.Reset(wait)
		} else {
			msg, some, ask := a.mail.take()
			a.ask(ask)
			if some {
				a.alone = time.Time{}
				a.h.metrics.sent.Inc()
				return msg, a.fill(ctx, msg)
			}
		}
		select {
		case <-later.C:
		case <-ctx.Done():
			return api.HubMessage{}, context.Cause(ctx)
		case <-a.ctx.Done():
			return api.HubMessage{}, a.reason()
		case <-a.wake:
		}
	}
}

// ask lets a shard say everything, if its inbox has room: else it is asked within a second.
func (a *Attachment) ask(shard int) {
	if shard >= 0 && a.h.offer(api.Shard(shard), evResync{cluster: a.cluster}) {
		a.mail.asked(shard)
		a.h.metrics.resyncs.WithLabelValues("overflow").Inc()
	}
}

// fill brings in the payloads that are in the bucket. Without one the link ends and begins anew: a signal is handed over
// whole or not at all.
func (a *Attachment) fill(ctx context.Context, m api.HubMessage) error {
	for _, u := range m.Updates {
		for _, d := range u.Sessions {
			for i, s := range d.Signals {
				if s.PayloadRef == "" {
					continue
				}
				payload, err := a.h.cfg.Bucket.Fetch(ctx, s.PayloadRef)
				if err != nil {
					return err
				}
				d.Signals[i].Payload = payload
			}
		}
	}
	return nil
}

// push queues a message. It never blocks.
func (a *Attachment) push(m api.HubMessage) {
	if err := a.mail.push(m); err != nil {
		a.end(err)
		return
	}
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Receive takes what a spoke sent. It blocks while shards are busy, which holds the spoke back.
func (a *Attachment) Receive(ctx context.Context, m api.SpokeMessage) error {
	a.h.metrics.received.Inc()
	a.h.fleet.reported(a.cluster, m.Capacity, m.Held)
	a.pour(m.Deltas)
	return a.route(ctx, m.Held, m.Events)
}

// pour offers text to the shards of sessions that somebody follows. What a shard has no room for is dropped.
func (a *Attachment) pour(deltas []api.Delta) {
	for len(deltas) > 0 {
		id, n := deltas[0].Session, 1
		for n < len(deltas) && deltas[n].Session == id {
			n++
		}
		run := slices.DeleteFunc(slices.Clone(deltas[:n]), func(d api.Delta) bool { return len(d.Text) > deltaBytes })
		if shard, err := id.Shard(); err == nil && len(run) > 0 && a.h.feed.wanted(id) {
			a.h.offer(shard, evDeltas{cluster: a.cluster, session: id, deltas: run})
		}
		deltas = deltas[n:]
	}
}

func (a *Attachment) route(ctx context.Context, held []api.Held, batches []api.EventBatch) error {
	for _, b := range batches {
		shard, err := b.Session.Shard()
		if err != nil {
			return api.Invalid("events.session", "%v", err)
		}
		if err := a.h.post(ctx, shard, evEvents{cluster: a.cluster, batch: b}); err != nil {
			return err
		}
	}
	for _, h := range held {
		shard, err := h.Session.Shard()
		if err != nil {
			return api.Invalid("held.session", "%v", err)
		}
		if err := a.h.post(ctx, shard, evHeld{cluster: a.cluster, held: h}); err != nil {
			return err
		}
	}
	return nil
}

// Beat takes a heartbeat: it returns nil only after the store confirmed that the lease was prolonged.
func (a *Attachment) Beat(ctx context.Context) error {
	if a.ctx.Err() != nil {
		return a.reason()
	}
	if err := a.h.cfg.Leases.Renew(ctx, a.cluster, a.boot); err != nil {
		if api.CodeOf(err) == api.CodeConflict {
			a.end(err)
		}
		return err
	}
	l := a.h.fleet
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.members[a.cluster]; m != nil && m.link == a {
		l.dirty = l.dirty || m.health != api.HealthLive
		m.hear()
	}
	return nil
}

// end lets Next return the error, and cuts transfers. The first one counts.
func (a *Attachment) end(err error) { a.cancel(err) }

func (a *Attachment) reason() error { return context.Cause(a.ctx) }

// Boot is the boot id that the link began with.
func (a *Attachment) Boot() string { return a.boot }

// Close ends the link.
func (a *Attachment) Close(err error) {
	if err == nil {
		err = api.Errorf(api.CodeUnavailable, "the link was closed")
	}
	a.end(err)
	a.h.fleet.detach(a)
	a.h.log.Info("spoke detached", "cluster", a.cluster, "boot", a.boot, "error", a.reason())
}
