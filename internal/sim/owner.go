package sim

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// owner is one process of a hub: it owns the shard from its start until it notices that another one does.
type owner struct {
	*actor
	n     int // of the process, from 1
	core  *hub.Core
	inbox []hub.CoreEvent
	up    bool // loaded
	woken bool // a turn is scheduled
	lost  map[api.ClusterID]time.Duration
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.Level(100)}))

// startOwner starts a hub. An older one that has not died goes on until its next commit.
func (w *World) startOwner() {
	w.owners++
	o := &owner{n: w.owners, lost: map[api.ClusterID]time.Duration{}}
	o.actor = w.newActor("hub")
	w.owner = o
	for _, s := range w.spokes { // links are of a process
		s.cut(errDown)
	}
	p := &ownerPorts{w, o}
	o.core = hub.NewCore(shard, hub.CorePorts{Shards: p, Archive: p, Log: w.archive, Vault: p, Resolver: p, Out: p, Pause: p.pause, Logger: quiet}, limits, w.wall)
	w.note("hub %d starts", o.n)
	w.did("hub started")
	o.do(func() {
		if err := o.core.Load(context.Background()); err != nil {
			w.note("hub %d: load: %v", o.n, err)
			panic(crash{})
		}
		o.up = true
		w.note("hub %d owns the shard", o.n)
	})
}

// post hands an event to the owner; it takes what waits together.
func (o *owner) post(evs ...hub.CoreEvent) {
	if o.dead {
		return
	}
	o.inbox = append(o.inbox, evs...)
	o.wake()
}

func (o *owner) wake() {
	if o.woken || o.dead {
		return
	}
	o.woken = true
	o.w.after(o.w.between(0, 3*time.Millisecond), "", o.turn)
}

func (o *owner) turn() {
	o.woken = false
	if o.dead {
		return
	}
	if o.busy || !o.up || o.frozen > o.w.now {
		o.woken = true
		o.w.after(5*time.Millisecond, "", o.turn)
		return
	}
	evs := o.inbox
	if o.inbox = nil; len(evs) == 0 {
		return
	}
	o.do(func() {
		if err := o.core.Turn(context.Background(), evs...); err != nil {
			o.w.note("hub %d gives up: %v", o.n, err)
			o.w.did("hub gave up its shard")
			panic(crash{})
		}
	})
}

// ownerPorts is what an owner reaches. Each call is a point; writes may be lost with their answer, or the answer alone.
type ownerPorts struct {
	w *World
	o *owner
}

var errUnknown = api.Errorf(api.CodeUnavailable, "the outcome is unknown")

// write performs a write whose request, or whose answer, may be lost.
func (p *ownerPorts) write(what string, f func() error) error {
	p.o.point("before " + what)
	lose := p.w.lose
	p.w.lose = ""
	switch {
	case lose == "request" || p.w.harsh && p.w.chance(60):
		p.w.note("hub %d: %s is lost", p.o.n, what)
		p.w.did("request lost")
		return errUnknown
	case lose == "answer" || p.w.harsh && p.w.chance(60):
		err := f()
		p.w.note("hub %d: the answer to %s is lost (%v)", p.o.n, what, err)
		p.w.did("answer lost")
		return errUnknown
	}
	err := f()
	p.o.point("after " + what)
	return err
}

func (p *ownerPorts) Claim(ctx context.Context, s api.Shard) (api.Head, error) {
	p.o.point("claim")
	return p.w.store.Claim(ctx, s)
}

func (p *ownerPorts) Load(ctx context.Context, s api.Shard) (hub.ShardContents, error) {
	p.o.point("load")
	return p.w.store.Load(ctx, s)
}

func (p *ownerPorts) Commit(ctx context.Context, b []hub.Batch) error {
	return p.write("commit", func() error { return p.w.store.Commit(ctx, b) })
}

func (p *ownerPorts) Limits() hub.CommitLimits { return p.w.store.Limits() }

func (p *ownerPorts) Head(ctx context.Context, s api.Shard) (api.Head, error) {
	p.o.point("head")
	if p.w.harsh && p.w.chance(20) {
		return api.Head{}, errUnknown
	}
	return p.w.store.Head(ctx, s)
}

func (p *ownerPorts) Raise(ctx context.Context, s api.Shard, g api.Generation) error {
	p.o.point("raise")
	return p.w.archive.Raise(ctx, s, g)
}

func (p *ownerPorts) Positions(ctx context.Context, s api.Shard) (map[api.SessionID]hub.LogPosition, error) {
	p.o.point("positions")
	return p.w.archive.Positions(ctx, s)
}

func (p *ownerPorts) Append(context.Context, []hub.Append) error { panic("appends are submitted") }

func (p *ownerPorts) Keys(ctx context.Context, org api.OrgID, keys []hub.KeyScope) (map[hub.KeyScope]hub.SettledSignal, error) {
	p.o.point("keys")
	if p.w.harsh && p.w.chance(50) {
		return nil, errUnknown
	}
	return p.w.archive.Keys(ctx, org, keys)
}

func (p *ownerPorts) Settled(ctx context.Context, ids []api.SignalID) (map[api.SignalID]bool, error) {
	p.o.point("settled")
	return p.w.archive.Settled(ctx, ids)
}

func (p *ownerPorts) Branch(ctx context.Context, s api.SessionID, src api.Source) (hub.Branch, error) {
	p.o.point("branch")
	return p.w.archive.Branch(ctx, s, src)
}

func (p *ownerPorts) Ended(ctx context.Context, c api.ClusterID, ids []api.SessionID) ([]api.SessionID, error) {
	p.o.point("ended")
	return p.w.archive.Ended(ctx, c, ids)
}

func (p *ownerPorts) LastEpochs(ctx context.Context, c api.ClusterID, ids []api.SessionID) (map[api.SessionID]api.Epoch, error) {
	p.o.point("last epochs")
	return p.w.archive.LastEpochs(ctx, c, ids)
}

func (p *ownerPorts) EndedEpochs(ctx context.Context, c api.ClusterID, epochs []hub.SessionEpoch) (map[hub.SessionEpoch]api.OrgID, error) {
	p.o.point("ended epochs")
	return p.w.archive.EndedEpochs(ctx, c, epochs)
}

func (p *ownerPorts) AppendSide(ctx context.Context, org api.OrgID, b api.EventBatch, c api.ClusterID, at time.Time) error {
	p.w.did("side branch")
	return p.write("append to side branch", func() error { return p.w.archive.AppendSide(ctx, org, b, c, at) })
}

func (p *ownerPorts) HasCheckpoint(ctx context.Context, org api.OrgID, s api.SessionID, id api.CheckpointID) (bool, error) {
	p.o.point("look for checkpoint")
	return p.w.vault.has(s, id), nil
}

func (p *ownerPorts) Agent(context.Context, api.OrgID, string) (api.ObjectID, error) {
	return agentID, nil
}

func (p *ownerPorts) ResolveRevision(context.Context, api.OrgID, api.ObjectID, string, uint64) (api.ResolvedRevision, error) {
	return *revision(), nil
}

func (p *ownerPorts) ResolveAt(context.Context, api.OrgID, api.ObjectID, api.Assignment) (*api.ResolvedRevision, error) {
	return revision(), nil
}

func (p *ownerPorts) pause(context.Context, time.Duration) error {
	p.o.point("pause")
	return nil
}

// Submit implements [hub.CoreOut]: an archiver that writes later, and tries again for ever.
func (p *ownerPorts) Submit(_ context.Context, s api.Shard, appends []hub.Append) error {
	p.o.point("submit")
	p.w.after(p.w.between(0, 30*time.Millisecond), "", func() { p.append(appends) })
	return nil
}

func (p *ownerPorts) append(appends []hub.Append) {
	if p.o.dead && p.w.chance(2) {
		return // it died with the process, or it was on its way
	}
	err := p.w.archive.Append(context.Background(), appends)
	switch {
	case api.CodeOf(err) == api.CodeConflict:
		p.w.note("hub %d: append refused: %v", p.o.n, err)
		p.w.did("append of a former owner refused")
		return
	case err != nil:
		p.w.violated("P5", "append: %v", err)
		return
	}
	for _, a := range appends {
		for _, ev := range a.Events {
			p.w.note("archived: %s %d %s/%d %s %v %s %v %.80s", short(ev.Session), ev.Number, ev.Source, ev.SourceNumber, ev.Type, ev.Signals, ev.Outcome, ev.Attributes, ev.Text)
		}
		for _, s := range a.Settled {
			p.w.note("archived: %s signal %d is settled: %s %s", short(s.Signal.Session), s.Signal.Sequence, s.Outcome, s.Reason)
		}
	}
	if p.w.harsh && p.w.chance(30) {
		p.w.note("hub %d: the answer is lost", p.o.n) // so it is repeated
		p.w.after(p.w.between(time.Millisecond, 50*time.Millisecond), "", func() { p.append(appends) })
		return
	}
	p.w.after(p.w.between(0, 20*time.Millisecond), "", func() { p.o.post(hub.CoreArchived(appends)) })
}

// Ask implements [hub.CoreOut].
func (p *ownerPorts) Ask(r hub.PlaceRequest) {
	p.w.after(p.w.between(0, 20*time.Millisecond), "", func() {
		if r.Revise {
			p.o.post(hub.CoreRevised(r.Session, revision(), nil))
			return
		}
		d := api.Decision{Session: r.Session, Time: p.w.wall(), Summary: "nothing fits"}
		var fit []api.ClusterID
		for _, s := range p.w.spokes {
			if _, live := p.w.store.holder(s.cluster); live && r.Refused[s.cluster] == "" {
				fit = append(fit, s.cluster)
			}
		}
		if len(fit) > 0 {
			d.Cluster = fit[p.w.rnd.IntN(len(fit))]
			d.Summary = "placed in " + string(d.Cluster)
		}
		p.w.after(p.w.between(0, 20*time.Millisecond), "", func() { p.o.post(hub.CorePlaced(r.Session, d, revision(), nil)) })
	})
}

// Send implements [hub.CoreOut]. What a former owner says may arrive too: its link has not been cut yet.
func (p *ownerPorts) Send(c api.ClusterID, m api.HubMessage) {
	for _, u := range m.Updates {
		for _, d := range u.Sessions {
			p.w.tells(u.Position.Head.Generation, d)
			p.w.note("hub %d to %s: %s epoch %v release %v signals %v checkpoint %.6s", p.o.n, c, short(d.Session), d.Epoch, d.Release, sequences(d.Signals), d.Checkpoint)
		}
	}
	for _, s := range p.w.spokes {
		if s.cluster == c {
			s.toSpoke(p.o, m)
		}
	}
}

// Cut implements [hub.CoreOut].
func (p *ownerPorts) Cut(c api.ClusterID, err error) {
	p.w.note("hub %d cuts the link of %s: %v", p.o.n, c, err)
	for _, s := range p.w.spokes {
		if s.cluster == c && s.link.owner == p.o {
			s.cut(err)
		}
	}
}

// Collect implements [hub.CoreOut].
func (p *ownerPorts) Collect(_ api.OrgID, s api.SessionID, keep []api.CheckpointID) {
	p.w.after(p.w.between(0, 200*time.Millisecond), "", func() { p.w.vault.collect(s, keep) })
}

// beatOwner is what the hub's look at the leases does: it tells the shard who is lost and for how long, and once in a while
// that facts may have changed.
func (w *World) beatOwner() {
	w.after(500*time.Millisecond, "", w.beatOwner)
	o := w.owner
	if o == nil || o.dead || !o.up || o.frozen > w.now {
		return
	}
	for _, s := range w.spokes {
		if _, ok := w.store.holder(s.cluster); ok {
			delete(o.lost, s.cluster)
			continue
		}
		since, ok := o.lost[s.cluster]
		if !ok {
			o.lost[s.cluster] = w.now
			o.post(hub.CoreHealth(s.cluster, api.HealthLost))
			continue
		}
		o.post(hub.CoreFence(s.cluster, w.now-since))
	}
	o.post(hub.CoreFacts())
}

// short is the end of a session's id, which tells sessions apart.
func short(id api.SessionID) string { return string(id[len(id)-4:]) }

func sequences(signals []api.Signal) (out []uint64) {
	for _, s := range signals {
		out = append(out, s.Sequence)
	}
	return out
}
