package hub

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/nave-dev/nave/api"
)

// TestTranscripts shows what one event after another makes durable and leads to. A transcript is one shard's life:
//
//	signal key=alice idem=k payload=x
//	place s1 cluster=aws [dead]       the placer answers; dead: the cluster is not alive at the commit
//	place s1 reason=(no room)         nothing fits
//	held s1 cluster=aws state=Idle seen=1 [epoch=1] [reason=(...)]
//	events s1 cluster=aws from=1 to=3 [epoch=1] [outcome=done signals=1]
//	archived                          the append under way is in the archive
//	attach, lost  cluster=aws
//	facts [after=30s]
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/step", func(t *testing.T, path string) {
		tr := &transcript{m: newMachine(7, api.Head{Generation: api.Generation{Incarnation: 1, N: 1}}, Limits{PendingPerSession: 3, Window: 2, WindowBytes: 1 << 20}),
			now: time.Unix(1_700_000_000, 0).UTC(), names: map[api.SessionID]string{}, ids: map[string]api.SessionID{}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return tr.run(t, d) })
	})
}

type transcript struct {
	m       *machine
	now     time.Time
	names   map[api.SessionID]string
	ids     map[string]api.SessionID
	signals int
	writing []Append
	out     strings.Builder
}

func (tr *transcript) run(t *testing.T, d *datadriven.TestData) string {
	tr.out.Reset()
	arg := func(name, otherwise string) string {
		if d.HasArg(name) {
			var v string
			d.ScanArgs(t, name, &v)
			return v
		}
		return otherwise
	}
	number := func(name string, otherwise uint64) uint64 {
		if d.HasArg(name) {
			d.ScanArgs(t, name, &otherwise)
		}
		return otherwise
	}
	var id api.SessionID
	if len(d.CmdArgs) > 0 {
		id = tr.ids[d.CmdArgs[0].Key]
	}
	cluster, epoch := api.ClusterID(arg("cluster", "")), api.Epoch{Incarnation: 1, N: 1}
	if s := tr.m.sessions[id]; s != nil {
		epoch = s.Epoch
	}
	epoch.N = number("epoch", epoch.N)
	switch d.Cmd {
	case "signal":
		tr.signal(arg("key", ""), arg("idem", ""), arg("payload", "x"))
	case "place":
		ev := evPlaced{session: id, revision: testRevision(), decision: api.Decision{Session: id, Cluster: cluster, Summary: arg("reason", "the only one")}}
		tr.step(ev, !d.HasArg("dead"))
	case "held":
		tr.step(evHeld{cluster, api.Held{Session: id, Epoch: epoch, Attempt: 1, State: api.HeldState(arg("state", "")), Reason: arg("reason", ""), Seen: number("seen", 0)}}, true)
	case "events":
		b := api.EventBatch{Session: id, Source: api.Source{Epoch: epoch, Attempt: 1}}
		from, to := number("from", 1), number("to", 1)
		for n := from; n <= to; n++ {
			ev := api.Event{SourceNumber: n, Type: api.EventMessage}
			if n == to && d.HasArg("outcome") {
				ev.Type, ev.Outcome, ev.Signals = api.EventTurnDone, api.Outcome(arg("outcome", "")), []uint64{number("signals", 1)}
			}
			b.Events = append(b.Events, ev)
		}
		tr.step(evEvents{cluster: cluster, batch: b, archived: number("archived", 0)}, true)
	case "archived":
		done := tr.writing
		tr.writing = nil
		tr.step(evArchived{done}, true)
	case "attach":
		held := map[api.SessionID]api.Held{}
		for id := range tr.m.sessions {
			if !d.HasArg("forgot") {
				held[id] = api.Held{}
			}
		}
		tr.step(evAttach{cluster: cluster, held: held}, true)
	case "lost":
		tr.step(evHealth{cluster, api.HealthLost}, true)
	case "facts":
		after, err := time.ParseDuration(arg("after", "0s"))
		if err != nil {
			t.Fatal(err)
		}
		tr.now = tr.now.Add(after)
		tr.step(evFacts{}, true)
	default:
		t.Fatalf("unknown command %q", d.Cmd)
	}
	if tr.out.Len() == 0 {
		return "nothing\n"
	}
	return tr.out.String()
}

func (tr *transcript) say(format string, args ...any) { fmt.Fprintf(&tr.out, format+"\n", args...) }

func (tr *transcript) signal(key, idem, payload string) {
	tr.signals++
	var entropy [10]byte
	entropy[9] = byte(tr.signals)
	reply := make(chan signalReply, 1)
	tr.step(evSignal{org: api.DefaultOrg, agent: worldAgent, agentName: "a", key: key, newID: api.NewSessionID(tr.now, 7, entropy), reply: reply,
		signal: api.Signal{ID: api.SignalID(fmt.Sprintf("sig-%d", tr.signals)), IdempotencyKey: idem, Payload: []byte(payload), PayloadHash: [32]byte{payload[0]}}}, true)
}

func (tr *transcript) step(ev event, alive bool) {
	o := tr.m.step(tr.now, ev)
	for _, m := range o.mutations {
		tr.mutation(m)
	}
	if o.guard != nil {
		tr.say("  if %s is alive: %v", o.guard.cluster, alive)
		a := o.guard.assigned
		a.ok = alive
		tr.step(a, true)
		return
	}
	for _, e := range o.effects {
		tr.effect(e)
	}
}

func (tr *transcript) name(id api.SessionID) string {
	if tr.names[id] == "" {
		n := fmt.Sprintf("s%d", len(tr.names)+1)
		tr.names[id], tr.ids[n] = n, id
	}
	return tr.names[id]
}

func (tr *transcript) mutation(m Mutation) {
	switch {
	case m.PutSession != nil:
		s := m.PutSession
		at := "unassigned"
		if a := s.Assignment; a != nil {
			at = fmt.Sprintf("%s@%s", a.Cluster, a.Epoch)
			if a.Releasing {
				at += " releasing"
			}
		}
		tr.say("  put session %s: %s, %s%s", tr.name(s.ID), s.Phase, at, because(s.Reason))
	case m.PutSignal != nil:
		tr.say("  put signal %s/%d: %d failed deliveries", tr.name(m.PutSignal.Session), m.PutSignal.Sequence, m.PutSignal.Deliveries)
	case m.DeleteSignal != nil:
		tr.say("  delete signal %s/%d", tr.name(m.DeleteSignal.Session), m.DeleteSignal.Sequence)
	case m.PutOutbox != nil:
		tr.say("  put event %s/hub/%d: %s", tr.name(m.PutOutbox.Event.Session), m.PutOutbox.Event.SourceNumber, m.PutOutbox.Event.Type)
	case m.DeleteOutbox != nil:
		tr.say("  delete event %s/hub/%d", tr.name(m.DeleteOutbox.Session), m.DeleteOutbox.Number)
	}
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + reason + ")"
}

func (tr *transcript) effect(e effect) {
	switch e := e.(type) {
	case effReply:
		if e.reply.err != nil {
			tr.say("then refuse: %s", api.CodeOf(e.reply.err))
			return
		}
		a := e.reply.accepted
		tr.say("then answer: %s is %s/%d, duplicate %v", a.Signal, tr.name(a.Session), a.Sequence, a.Duplicate)
	case effPlace:
		tr.say("then place %s, last %q, refused by %d", tr.name(e.request.session), e.request.last, len(e.request.refused))
	case effAppend:
		tr.writing = e.appends
		for _, a := range e.appends {
			for _, ev := range a.Events {
				tr.say("then archive %s #%d: %s from %s/%d", tr.name(ev.Session), ev.Number, ev.Type, ev.Source, ev.SourceNumber)
			}
			for _, row := range a.Settled {
				tr.say("then archive that %s/%d is %s", tr.name(row.Signal.Session), row.Signal.Sequence, row.Outcome)
			}
		}
	case effSend:
		tr.say("then send to %s, full %v: %d sessions", e.cluster, e.full, len(e.sessions))
		for _, d := range e.sessions {
			var signals []string
			for _, s := range d.Signals {
				signals = append(signals, fmt.Sprintf("%d", s.Sequence))
			}
			tr.say("     %s@%s release %v, revision %v, signals [%s]", tr.name(d.Session), d.Epoch, d.Release, d.Revision != nil, strings.Join(signals, " "))
		}
	case effAck:
		tr.say("then tell %s that it may forget %s %s up to %d", e.cluster, tr.name(e.ack.Session), e.ack.Source, e.ack.UpTo)
	case effNotify:
		tr.say("then wake readers of %s", tr.name(e.session))
	case effGap:
		tr.say("then end the link of %s: a gap", e.cluster)
	case effStale:
		tr.say("then note that %s reports %s of another epoch, %s", e.cluster, tr.name(e.session), e.epoch)
	case effUnplace:
		tr.say("then free the room of %s at %s, dead %v", tr.name(e.session), e.cluster, e.dead)
	}
}
