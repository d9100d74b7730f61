package hub

import (
	"context"
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
//	intent s1 change=pause [dry]
//	place s1 cluster=aws [dead] [revision=2]   the placer answers; dead: the cluster is not alive at the commit
//	place s1 reason=(no room)                  nothing fits
//	revise s1 revision=2                       the present revision, that was asked for
//	held s1 cluster=aws state=Idle seen=1 [epoch=1] [attempt=1] [number=3] [starts=2] [reason=(...)]
//	events s1 cluster=aws from=1 to=3 [epoch=1] [attempt=1] [outcome=done signals=(1 2)]
//	events s1 cluster=aws from=4 to=4 saved=1 [false]      a checkpoint; false: it is not in the bucket
//	events s1 cluster=aws from=1 to=1 restored=(1 2)       the consumed signals whose turns are forgotten
//	events s1 cluster=aws from=2 to=2 asks=rm signals=1    a permission that the turn asks for; rm names it from now on
//	events s1 cluster=aws from=3 to=3 takes=rm             the workload has the answer
//	answer rm [deny] [option=always] [by=bob] [reason=(...)]
//	cancel s1 [upto=2] [dry]
//	archived [dies]                            the append under way is in the archive; dies: the owner does not hear so
//	restart                                    the next owner, from what is durable
//	attach cluster=aws [forgot] [number=3] [attempt=1] [ahead]
//	resync, lost  cluster=aws
//	fence cluster=aws gone=30s
//	facts [after=30s]
//	pass 1h
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/step", func(t *testing.T, path string) {
		tr := &transcript{mem: newMemory(), now: time.Unix(1_700_000_000, 0).UTC(), names: map[api.SessionID]string{}, ids: map[string]api.SessionID{},
			asked: map[string]api.ApprovalID{}, labels: map[api.ApprovalID]string{}}
		tr.mem.head.Generation.N = 1
		tr.mem.fence = tr.mem.head.Generation
		tr.m = newMachine(7, tr.mem.head, transcriptLimits)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return tr.run(t, d) })
	})
}

var transcriptLimits = Limits{PendingPerSession: 3, Window: 2, WindowBytes: 1 << 20, Lease: 10 * time.Second}

type transcript struct {
	m       *machine
	mem     *memory
	now     time.Time
	names   map[api.SessionID]string
	ids     map[string]api.SessionID
	signals int
	asked   map[string]api.ApprovalID
	labels  map[api.ApprovalID]string
	writing []Append
	out     strings.Builder
}

// args reads the arguments of a command.
type args struct {
	t *testing.T
	d *datadriven.TestData
}

func (a args) text(name, otherwise string) string {
	if a.d.HasArg(name) {
		for _, arg := range a.d.CmdArgs {
			if arg.Key == name {
				return strings.Join(arg.Vals, " ")
			}
		}
	}
	return otherwise
}

func (a args) number(name string, otherwise uint64) uint64 {
	if a.d.HasArg(name) {
		a.d.ScanArgs(a.t, name, &otherwise)
	}
	return otherwise
}

func (a args) duration(name, otherwise string) time.Duration {
	v, err := time.ParseDuration(a.text(name, otherwise))
	must(a.t, err)
	return v
}

func (a args) numbers(name string) (out []uint64) {
	for _, f := range strings.Fields(a.text(name, "")) {
		var n uint64
		_, err := fmt.Sscan(f, &n)
		must(a.t, err)
		out = append(out, n)
	}
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (tr *transcript) run(t *testing.T, d *datadriven.TestData) string {
	tr.out.Reset()
	a := args{t, d}
	var id api.SessionID
	if len(d.CmdArgs) > 0 {
		id = tr.ids[d.CmdArgs[0].Key]
	}
	cluster, epoch := api.ClusterID(a.text("cluster", "")), api.Epoch{Incarnation: 1, N: 1}
	if s := tr.m.sessions[id]; s != nil {
		epoch = s.Epoch
	}
	epoch.N = a.number("epoch", epoch.N)
	src := api.Source{Epoch: epoch, Attempt: uint32(a.number("attempt", 1))}
	switch d.Cmd {
	case "signal":
		tr.signal(a.text("key", ""), a.text("idem", ""), a.text("payload", "x"))
	case "intent":
		r := IntentRequest{Org: api.DefaultOrg, Session: id, Change: Change(a.text("change", "")), By: "ann", Note: a.text("note", ""), DryRun: d.HasArg("dry")}
		tr.step(evIntent{request: r}, true)
	case "answer":
		r := AnswerRequest{Org: api.DefaultOrg, Approval: tr.asked[d.CmdArgs[0].Key], Approve: !d.HasArg("deny"), Option: a.text("option", ""), By: a.text("by", "ann"), Reason: a.text("reason", "")}
		tr.step(evAnswer{request: r}, true)
	case "cancel":
		tr.step(evCancel{request: CancelRequest{Org: api.DefaultOrg, Session: id, UpTo: a.number("upto", 0), By: "ann", DryRun: d.HasArg("dry")}}, true)
	case "place":
		ev := evPlaced{session: id, revision: revisionNumber(a.number("revision", 1)), decision: api.Decision{Session: id, Cluster: cluster, Summary: a.text("reason", "the only one")}}
		tr.step(ev, !d.HasArg("dead"))
	case "revise":
		tr.step(evRevised{session: id, revision: revisionNumber(a.number("revision", 1))}, true)
	case "held":
		tr.step(evHeld{cluster: cluster, held: api.Held{Session: id, Epoch: epoch, Attempt: src.Attempt, State: api.HeldState(a.text("state", "")), Reason: a.text("reason", ""),
			Seen: a.number("seen", 0), Number: a.number("number", 0), StartFailures: uint32(a.number("starts", 0))}}, true)
	case "events":
		tr.events(a, cluster, id, src)
	case "archived":
		done := tr.writing
		tr.writing = nil
		must(t, tr.mem.Append(context.Background(), done))
		if d.HasArg("dies") {
			tr.restart(t)
			break
		}
		tr.step(evArchived{done}, true)
	case "restart":
		tr.restart(t)
	case "attach":
		ev := evAttach{cluster: cluster, held: map[api.SessionID]api.Held{}}
		for id, s := range tr.m.sessions {
			if s.Assignment != nil && !d.HasArg("forgot") {
				at := api.Source{Epoch: s.Epoch, Attempt: uint32(a.number("attempt", 1))}
				ev.held[id] = api.Held{Session: id, Epoch: s.Epoch, Attempt: at.Attempt, Number: a.number("number", s.log.taken[at])}
			}
		}
		if d.HasArg("ahead") {
			seen := tr.m.head
			seen.Generation.N++
			ev.positions = map[api.Shard]api.Head{tr.m.shard: seen}
		}
		tr.step(ev, true)
	case "resync":
		tr.step(evResync{cluster}, true)
	case "lost":
		tr.step(evSilent{cluster: cluster, name: "aws-west"}, true)
	case "fence":
		tr.step(evSilent{cluster: cluster, name: "aws-west", gone: a.duration("gone", "0s")}, true)
	case "facts":
		tr.now = tr.now.Add(a.duration("after", "0s"))
		tr.step(evFacts{}, true)
	default:
		t.Fatalf("unknown command %q", d.Cmd)
	}
	if tr.out.Len() == 0 {
		return "nothing\n"
	}
	return tr.out.String()
}

func revisionNumber(n uint64) *api.ResolvedRevision {
	r := testRevision()
	r.AgentRevision = n
	return r
}

func (tr *transcript) say(format string, args ...any) { fmt.Fprintf(&tr.out, format+"\n", args...) }

func (tr *transcript) signal(key, idem, payload string) {
	tr.signals++
	var entropy [10]byte
	entropy[9] = byte(tr.signals)
	ev := &evSignal{org: api.DefaultOrg, agent: worldAgent, agentName: "a", key: key, newID: api.NewSessionID(tr.now, 7, entropy),
		signal: api.Signal{ID: api.SignalID(fmt.Sprintf("sig-%d", tr.signals)), IdempotencyKey: idem, Payload: []byte(payload), PayloadHash: [32]byte{payload[0]}}}
	scope := KeyScope{worldAgent, key, idem}
	if rows, _ := tr.mem.Keys(context.Background(), api.DefaultOrg, []KeyScope{scope}); idem != "" {
		if row, ok := rows[scope]; ok {
			ev.settled = &row
		}
	}
	tr.step(ev, true)
}

func (tr *transcript) events(a args, cluster api.ClusterID, id api.SessionID, src api.Source) {
	ev := evEvents{cluster: cluster, batch: api.EventBatch{Session: id, Source: src}, saved: map[api.CheckpointID]bool{}}
	from, to := a.number("from", 1), a.number("to", 1)
	for n := from; n <= to; n++ {
		e := api.Event{SourceNumber: n, Type: api.EventMessage}
		switch {
		case n < to:
		case a.d.HasArg("outcome"):
			e.Type, e.Outcome, e.Signals = api.EventTurnDone, api.Outcome(a.text("outcome", "")), a.numbers("signals")
		case a.d.HasArg("saved"):
			c := checkpointID(int(a.number("saved", 0)))
			e.Type, e.Attributes = api.EventSaved, map[string]string{api.AttrCheckpoint: string(c)}
			ev.saved[c] = !a.d.HasArg("false")
		case a.d.HasArg("asks"):
			e = tr.asks(id, a.text("asks", ""), a.numbers("signals"))
			e.SourceNumber = n
		case a.d.HasArg("takes"):
			e.Type, e.Attributes = api.EventTaken, map[string]string{api.AttrApproval: string(tr.asked[a.text("takes", "")])}
		case a.d.HasArg("restored"):
			e.Type, e.Signals = api.EventState, a.numbers("restored")
		}
		ev.batch.Events = append(ev.batch.Events, e)
	}
	tr.step(ev, true)
}

// asks is the event of a turn that asks for a permission.
func (tr *transcript) asks(id api.SessionID, label string, signals []uint64) api.Event {
	e := askedFor(id, label, signals, "30m")
	approval := api.ApprovalID(e.Attributes[api.AttrApproval])
	tr.asked[label], tr.labels[approval] = approval, label
	return e
}

// askedFor is approval.requested, as a harness writes it.
func askedFor(id api.SessionID, fingerprint string, signals []uint64, hold string) api.Event {
	return api.Event{Type: api.EventAsked, Signals: signals, Text: "wants to " + fingerprint, Attributes: map[string]string{
		api.AttrApproval: string(api.NewApprovalID(id, signals[0], fingerprint, 0)), api.AttrTitle: fingerprint, api.AttrFingerprint: fingerprint, api.AttrHold: hold,
		api.AttrOptions: `[{"id":"always","name":"Always","kind":"allow_always"},{"id":"once","name":"Once","kind":"allow_once"},{"id":"no","name":"No","kind":"reject_once"}]`}}
}

// restart lets the next owner begin.
func (tr *transcript) restart(t *testing.T) {
	tr.writing = nil
	ctx := context.Background()
	head, err := tr.mem.Claim(ctx, 7)
	must(t, err)
	must(t, tr.mem.Raise(ctx, 7, head.Generation))
	p := past{tails: map[api.SessionID][]api.Event{}}
	p.contents, _ = tr.mem.Load(ctx, 7)
	p.positions, _ = tr.mem.Positions(ctx, 7)
	var ids []api.SignalID
	for _, s := range p.contents.Signals {
		ids = append(ids, s.ID)
	}
	p.settled, _ = tr.mem.Settled(ctx, ids)
	for _, s := range p.contents.Sessions {
		if s.Assignment != nil && behind(s, p.positions[s.ID]) {
			p.tails[s.ID] = tr.mem.log[s.ID]
		}
	}
	tr.m = newMachine(7, head, transcriptLimits)
	outs := tr.m.load(tr.now, p)
	for _, s := range tr.m.sessions {
		s.revision = testRevision()
	}
	tr.say("an owner of generation %s begins", head.Generation)
	for _, o := range outs {
		tr.commit(o)
	}
	for _, o := range outs {
		tr.effects(o)
	}
}

func (tr *transcript) step(ev event, alive bool) {
	o := tr.m.step(tr.now, ev)
	if o.guard != nil {
		for _, m := range o.mutations {
			tr.mutation("  ", m)
		}
		tr.say("  if %s is alive: %v", o.guard.cluster, alive)
		if alive {
			tr.durable(o.mutations)
		}
		a := o.guard.assigned
		a.ok = alive
		tr.step(a, true)
		return
	}
	tr.commit(o)
	tr.effects(o)
	for _, ev := range o.next {
		tr.step(ev, true)
	}
}

func (tr *transcript) commit(o output) {
	for _, group := range o.apart {
		for _, m := range group {
			tr.mutation("  first ", m)
		}
		tr.durable(group)
	}
	for _, m := range o.mutations {
		tr.mutation("  ", m)
	}
	tr.durable(o.mutations)
}

func (tr *transcript) durable(muts []Mutation) {
	for _, m := range muts {
		tr.mem.apply(m)
	}
	if len(muts) > 0 {
		tr.m.head.Batch++
		tr.mem.head = tr.m.head
	}
}

func (tr *transcript) name(id api.SessionID) string {
	if tr.names[id] == "" {
		n := fmt.Sprintf("s%d", len(tr.names)+1)
		tr.names[id], tr.ids[n] = n, id
	}
	return tr.names[id]
}
