package hub

import (
	"context"
	"fmt"
	"slices"

	"github.com/nave-dev/nave/api"
)

// perform does what a durable batch leads to, in order.
func (l *loop) perform(ctx context.Context, effs []effect) error {
	at := api.Position{Shard: l.shard, Head: l.m.head}
	out := l.ports.Out
	var stale []effStale
	for _, e := range effs {
		switch e := e.(type) {
		case effReply:
			l.ports.tell(func(m *metrics) { m.signalled(e.reply) })
			e.to(e.reply)
		case effAnswer:
			e.to(e.answer, e.err)
		case effCancelled:
			e.to(e.answer, e.err)
		case effAnswered:
			e.to(e.approval, e.err)
		case effDelta:
			l.ports.pour(e.delta)
		case effPlace:
			out.Ask(e.request)
		case effRevise:
			out.Ask(e.request)
		case effAppend:
			if err := out.Submit(ctx, l.shard, e.appends); err != nil {
				return err
			}
		case effHurry:
			l.ports.hurry()
		case effSend:
			out.Send(e.cluster, api.HubMessage{Updates: []api.ShardUpdate{{Position: at, Full: e.full, Sessions: e.sessions}}})
		case effAck:
			l.acknowledge(e.cluster, e.ack)
		case effSide:
			l.side(ctx, e)
		case effCollect:
			out.Collect(e.org, e.session, e.keep)
		case effPending:
			l.ports.pending(e.org, e.n)
		case effNotify:
			l.ports.notify(e.session, e.events)
		case effUnplace:
			if !e.dead {
				l.ports.tell(func(m *metrics) { m.placements.WithLabelValues("dropped").Inc() })
			}
			l.ports.unplace(e.cluster, e.session, e.dead)
		case effGap:
			l.ports.tell(func(m *metrics) { m.gaps.Inc() })
			out.Cut(e.cluster, e.err)
		case effBehind:
			l.behind(e)
		case effStale:
			stale = append(stale, e)
		default:
			panic(fmt.Sprintf("shard %d: unknown effect %T", l.shard, e))
		}
	}
	l.stale(stale)
	return nil
}

func (l *loop) acknowledge(cluster api.ClusterID, ack api.Ack) {
	ack.Position = api.Position{Shard: l.shard, Head: l.m.head}
	l.ports.Out.Send(cluster, api.HubMessage{Acks: []api.Ack{ack}})
}

// stale tells of reports that are not believed: those of one cluster in one line, as a spoke may come back with thousands.
func (l *loop) stale(of []effStale) {
	for len(of) > 0 {
		first, n := of[0], 1
		for n < len(of) && of[n].cluster == first.cluster {
			n++
		}
		l.ports.tell(func(m *metrics) { m.stale.Add(float64(n)) })
		l.ports.Logger.Warn("report of another epoch", "cluster", first.cluster, "session", first.session, "epoch", first.epoch.String(), "reports", n)
		of = of[n:]
	}
}

// behind ends the link of a spoke that has seen what this owner has not: nothing that it says may be heard here.
func (l *loop) behind(e effBehind) {
	err := api.Errorf(api.CodeFailed, "the spoke has seen generation %s batch %d of shard %d, this hub is at %s batch %d: another hub owns the shard, or its store was set back",
		e.seen.Generation, e.seen.Batch, l.shard, l.m.head.Generation, l.m.head.Batch)
	l.ports.Logger.Error("spoke is ahead of the store", "cluster", e.cluster, "shard", l.shard, "error", err)
	l.ports.Out.Cut(e.cluster, err)
}

// heldSides bounds the batches for side branches that are kept for another try. What is more comes again with the next link.
const heldSides = 64

// side finds a place for events that are not of the present epoch:
//
//	the archive has them, in the log or beside it      acknowledged
//	a decision placed the session in this cluster then kept in the side branch, then acknowledged
//	none did                                           refused: the spoke keeps them
//	the archive does not answer                        tried again with the next facts
func (l *loop) side(ctx context.Context, e effSide) {
	if slices.ContainsFunc(l.held, func(x effSide) bool { return x.batch.Session == e.batch.Session && x.batch.Source == e.batch.Source }) {
		l.hold(e) // what came before it waits
		return
	}
	b, last := e.batch, e.batch.Events[len(e.batch.Events)-1].SourceNumber
	known, err := l.ports.Archive.Branch(ctx, b.Session, b.Source)
	switch {
	case api.CodeOf(err) == api.CodeNotFound || err == nil && known.Cluster != e.cluster:
		l.stale([]effStale{{e.cluster, b.Session, b.Source.Epoch}})
		return
	case err == nil && last > max(known.Log, known.Side):
		if err = l.ports.Archive.AppendSide(ctx, known.Org, b, e.cluster, e.at); err == nil {
			l.ports.tell(func(m *metrics) { m.side.Add(float64(len(b.Events))) })
			l.ports.Logger.Warn("events of a former epoch kept beside the log", "cluster", e.cluster, "session", b.Session, "source", b.Source.String(), "up_to", last)
		}
	}
	switch {
	case err == nil:
		l.acknowledge(e.cluster, api.Ack{Session: b.Session, Source: b.Source, UpTo: last})
	case api.CodeOf(err) == api.CodeConflict:
		l.ports.Logger.Error("events of a former epoch do not continue their branch", "cluster", e.cluster, "session", b.Session, "error", err)
	default:
		l.ports.Logger.Warn("events of a former epoch not kept yet", "cluster", e.cluster, "session", b.Session, "error", err)
		l.hold(e)
	}
}

func (l *loop) hold(e effSide) {
	if len(l.held) < heldSides {
		l.held = append(l.held, e)
	}
}

// retrySide tries what the archive could not take.
func (l *loop) retrySide(ctx context.Context) {
	again := l.held
	l.held = nil
	for i, e := range again {
		if l.side(ctx, e); len(l.held) > 0 {
			l.held = again[i:]
			return
		}
	}
}
