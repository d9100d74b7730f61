package hub

import (
	"context"
	"sync"
	"time"

	"github.com/nave-dev/nave/api"
)

// linkQueue bounds the messages that wait for a link. Past it the link ends and the next one begins with everything: a
// queue never drops in silence.
const linkQueue = 8192

// messageBytes is about how large one message to a spoke becomes.
const messageBytes = 1 << 20

// Attachment is the link of one spoke.
type Attachment struct {
	h       *Hub
	cluster api.ClusterID
	boot    string
	wake    chan struct{} // capacity 1
	ended   chan struct{} // closed by end

	mu    sync.Mutex
	queue []api.HubMessage // guarded by mu
	begun [api.Shards]bool // guarded by mu: the shard's full update was queued
	err   error            // guarded by mu: why it ended
}

// Attach begins the link of a spoke whose overlay identity was proved. It decides in the store that this boot is the live
// one of its cluster. The caller must call Close.
func (h *Hub) Attach(ctx context.Context, identity string, hello api.Hello) (*Attachment, api.Welcome, error) {
	fail := func(code api.Code, format string, args ...any) (*Attachment, api.Welcome, error) {
		return nil, api.Welcome{}, &api.Error{Code: code, Op: "attach", Err: api.Errorf(code, format, args...)}
	}
	c, ok := h.fleet.identities()[identity]
	if !ok {
		if err := h.fleet.refresh(ctx); err != nil {
			return nil, api.Welcome{}, err
		}
		if c, ok = h.fleet.identities()[identity]; !ok {
			return fail(api.CodeDenied, "identity %s belongs to no cluster: enroll with a join token", identity)
		}
	}
	if hello.ProtocolMin > api.LinkProtocolMax || hello.ProtocolMax < api.LinkProtocolMin {
		return fail(api.CodeUnsupported, "spoke speaks link protocol %d to %d, hub %d to %d: upgrade the older one", hello.ProtocolMin, hello.ProtocolMax, api.LinkProtocolMin, api.LinkProtocolMax)
	}
	if hello.Boot == "" || hello.Journal == "" || hello.Fingerprint == "" {
		return fail(api.CodeInvalid, "hello lacks boot, journal or fingerprint")
	}
	holder := LeaseHolder{Boot: hello.Boot, Journal: hello.Journal, Fingerprint: hello.Fingerprint}
	if err := h.cfg.Leases.Take(ctx, c.ID, holder, h.cfg.LeaseTTL); err != nil {
		return nil, api.Welcome{}, err
	}
	a := &Attachment{h: h, cluster: c.ID, boot: hello.Boot, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	h.fleet.attach(a, hello)
	h.log.Info("spoke attached", "cluster", c.ID, "name", c.Name, "boot", hello.Boot, "held", len(hello.Held))
	if err := a.route(ctx, hello.Held, nil); err != nil {
		a.Close(err)
		return nil, api.Welcome{}, err
	}
	if err := h.broadcast(ctx, attached(c.ID, hello)); err != nil {
		a.Close(err)
		return nil, api.Welcome{}, err
	}
	return a, api.Welcome{Protocol: min(hello.ProtocolMax, api.LinkProtocolMax), Cluster: c.ID, Name: c.Name, Labels: c.Labels, Beat: h.cfg.Beat}, nil
}

// attach makes a the cluster's link; a former one ends.
func (l *liveness) attach(a *Attachment, hello api.Hello) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.member(a.cluster)
	if m.link != nil {
		m.link.end(api.Errorf(api.CodeConflict, "another link of the same spoke began"))
	}
	m.link, m.heard, m.health = a, time.Now(), api.HealthLive
	m.version, m.boot, m.capacity = hello.Version, hello.Boot, hello.Capacity
	for _, held := range hello.Held {
		delete(m.reserved, held.Session)
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
	for {
		if msg, ok := a.take(); ok {
			return msg, a.fill(ctx, msg)
		}
		select {
		case <-ctx.Done():
			return api.HubMessage{}, context.Cause(ctx)
		case <-a.ended:
			return api.HubMessage{}, a.reason()
		case <-a.wake:
		}
	}
}

// take merges what waits, up to about messageBytes.
func (a *Attachment) take() (api.HubMessage, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out api.HubMessage
	n, bytes := 0, 0
	for n < len(a.queue) && bytes < messageBytes {
		m := a.queue[n]
		out.Updates, out.Acks = append(out.Updates, m.Updates...), append(out.Acks, m.Acks...)
		bytes += 64
		for _, u := range m.Updates {
			for _, d := range u.Sessions {
				bytes += desiredSize(d)
			}
		}
		n++
	}
	a.queue = a.queue[n:]
	if len(a.queue) == 0 {
		a.queue = nil
	}
	return out, n > 0
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

func desiredSize(d api.Desired) int {
	n := 256
	for _, s := range d.Signals {
		n += 128 + payloadSize(s)
	}
	if d.Revision != nil {
		n += 4096
	}
	return n
}

// push queues a message. It never blocks. What a shard changes before it has said everything is left out: everything comes,
// and only that names the revisions.
func (a *Attachment) push(m api.HubMessage) {
	a.mu.Lock()
	for _, u := range m.Updates {
		if !u.Full && !a.begun[u.Position.Shard] {
			a.mu.Unlock()
			return
		}
		a.begun[u.Position.Shard] = true
	}
	full := len(a.queue) >= linkQueue
	if !full {
		a.queue = append(a.queue, m)
	}
	a.mu.Unlock()
	if full {
		a.end(api.Errorf(api.CodeLimit, "%d messages wait for the spoke, the limit: the link begins anew", linkQueue))
		return
	}
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Receive takes what a spoke sent. It blocks while shards are busy, which holds the spoke back.
func (a *Attachment) Receive(ctx context.Context, m api.SpokeMessage) error {
	a.h.fleet.reported(a.cluster, m.Capacity, m.Held)
	return a.route(ctx, m.Held, m.Events)
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
		if err := a.h.post(ctx, shard, evHeld{a.cluster, h}); err != nil {
			return err
		}
	}
	return nil
}

// Beat takes a heartbeat: it returns nil only after the store confirmed that the lease was prolonged.
func (a *Attachment) Beat(ctx context.Context) error {
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
		m.heard = time.Now()
		if m.health != api.HealthLive {
			m.health, l.dirty = api.HealthLive, true
		}
	}
	return nil
}

// end lets Next return the error. The first one counts.
func (a *Attachment) end(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil {
		a.err = err
		close(a.ended)
	}
}

func (a *Attachment) reason() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

func (a *Attachment) waiting() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.queue)
}

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
