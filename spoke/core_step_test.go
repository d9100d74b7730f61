package spoke_test

import (
	"errors"
	"strings"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
)

// step does one command:
//
//	connect [silent] [capacity]            a hello and a welcome; unless silent, heartbeats are answered from now on, every 2s
//	cut [denied]                           the connection ends
//	beats on|off                           heartbeats are answered
//	renew sent=DURATION                    one is answered
//	want epoch=N signals=(N,...) [release] [full] [none] [stop-after=DURATION|never] [checkpoint=DIGIT] [mode=MODE] [generation=N] [cancelled=N] [answers=(NAME,...)]
//	ack upto=N attempt=N [generation=N]    the hub has taken events
//	takeover                               the next update is of the next generation
//	attach                                 the harness of what runs connects, and asks for its lease every 2s from now on
//	report EVENT [signals=(N,...)] [outcome=OUTCOME] [checkpoint=DIGIT] [from=FROM] [text=TEXT] [failure=KIND] [approval=own|other] [epoch=N] [attempt=N]
//	freeze                                 the harness asks no more
//	end [exit=TEXT]                        what runs ends by itself
//	runtime [refuses] [stands] [stuck]     how it behaves from now on
//	pass DURATION                          time passes, with a tick every half second
//	stall DURATION                         time passes without one
//	restart                                the program begins anew, with what the journal has
//	show                                   what the spoke holds, and the lease of what runs
func (w *coreWorld) step(c *datadriven.TestData) {
	switch c.Cmd {
	case "connect":
		w.core.Take(spoke.Hello(func(h api.Hello, err error) {
			for _, held := range h.Held {
				w.print("hello: %s", heldText(held))
			}
			if w.has(c, "capacity") {
				w.print("hello: room used %d", h.Capacity.Flavors[0].Used)
			}
			w.answered(err)
		}))
		w.settle()
		w.online, w.beats, w.sent = true, !w.has(c, "silent"), map[api.Source]uint64{}
		w.core.Take(spoke.Connected(api.Welcome{Protocol: 1, Cluster: "cluster"}, w.answered))
		if w.beats {
			w.core.Take(spoke.Renewed(w.now, nil))
		}
	case "cut":
		w.online, w.beats = false, false
		err := errors.New("cut")
		if w.has(c, "denied") {
			err = api.Errorf(api.CodeDenied, "the cluster was removed")
		}
		w.core.Take(spoke.Disconnected(err))
		w.settle()
		w.print("ready: %v", w.core.Ready())
	case "beats":
		w.beats = w.has(c, "on")
	case "renew":
		w.core.Take(spoke.Renewed(w.duration(c, "sent"), nil))
	case "want":
		w.want(c)
	case "takeover":
		w.gen++
		w.batch = 0
	case "ack":
		p := api.Position{Shard: 7, Head: api.Head{Generation: api.Generation{Incarnation: 1, N: w.one(c, "generation", w.gen+1)}}}
		source := api.Source{Epoch: api.Epoch{Incarnation: 1, N: w.one(c, "epoch", 1)}, Attempt: uint32(w.one(c, "attempt", 1))}
		w.core.Take(spoke.Received(api.HubMessage{Acks: []api.Ack{{Session: sessionA, Source: source, UpTo: w.one(c, "upto", 0), Position: p}}}, w.answered))
	case "attach":
		w.core.Take(spoke.Attached(w.running(), func(upTo uint64, err error) { w.number = upTo; w.answered(err) }))
		w.settle()
		w.asks = true
		w.ask()
	case "report":
		w.report(c)
	case "freeze":
		w.asks = false
	case "end":
		w.end(w.running(), w.arg(c, "exit"))
		w.pass(time.Second)
	case "runtime":
		w.refuses, w.stuck = w.has(c, "refuses"), w.has(c, "stuck")
		w.stands = w.has(c, "stands") || w.stuck
	case "pass":
		w.pass(w.first(c))
	case "stall":
		w.now += w.first(c)
		return
	case "restart":
		w.start()
		w.settle()
	case "show":
		w.settle()
		for _, h := range w.core.Held() {
			w.print("%s", heldText(h))
		}
		for id, r := range w.runs {
			if r.State == spoke.WorkloadRunning {
				w.print("%s runs, may act until %s", short(id), until(w.holds[id]))
			}
		}
		return
	default:
		w.t.Fatalf("unknown command %s", c.Cmd)
	}
	w.settle()
}

func until(d time.Duration) string {
	if d == spoke.LeaseForever {
		return "for ever"
	}
	return d.String()
}

func (w *coreWorld) first(c *datadriven.TestData) time.Duration {
	d, err := time.ParseDuration(c.CmdArgs[0].Key)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *coreWorld) want(c *datadriven.TestData) {
	w.batch++
	e := api.Epoch{Incarnation: 1, N: w.one(c, "epoch", 1)}
	d := desired(sessionA, e, w.numbers(c, "signals")...)
	switch s := w.arg(c, "stop-after"); s {
	case "":
	case "never":
		d.Revision.Agent.StopAfter = api.StopNever
	default:
		d.Revision.Agent.StopAfter = w.duration(c, "stop-after")
	}
	d.Revision.Agent.Checkpoint.Mode = api.CheckpointMode(w.arg(c, "mode"))
	if digit := w.arg(c, "checkpoint"); digit != "" {
		d.Checkpoint = api.CheckpointID(checkpoint(digit))
	}
	if w.has(c, "release") {
		d = release(sessionA, e)
	}
	if upTo := w.one(c, "cancelled", 0); upTo > 0 {
		d.Cancelled = api.Cancellation{UpTo: upTo, Reason: "ann said so"}
	}
	for _, name := range strings.FieldsFunc(w.arg(c, "answers"), func(r rune) bool { return r == ',' }) {
		d.Answers = append(d.Answers, api.ApprovalAnswer{Approval: api.ApprovalID(name), Allow: true, Option: "yes"})
	}
	u := api.ShardUpdate{Position: api.Position{Shard: 7, Head: api.Head{Generation: api.Generation{Incarnation: 1, N: w.one(c, "generation", w.gen+1)}, Batch: w.batch}}, Sessions: []api.Desired{d}}
	if u.Full = w.has(c, "full"); w.has(c, "none") {
		u.Sessions = nil
	}
	w.core.Take(spoke.Received(api.HubMessage{Updates: []api.ShardUpdate{u}}, w.answered))
}

func (w *coreWorld) report(c *datadriven.TestData) {
	e := api.Event{Type: api.EventType(c.CmdArgs[0].Key), Signals: w.numbers(c, "signals"), Outcome: api.Outcome(w.arg(c, "outcome")), Text: w.arg(c, "text"),
		Time: time.Unix(1, 0), Attributes: map[string]string{}}
	for key, attribute := range map[string]string{"from": api.AttrFrom, "failure": api.AttrFailure} {
		if v := w.arg(c, key); v != "" {
			e.Attributes[attribute] = v
		}
	}
	switch w.arg(c, "approval") {
	case "own":
		e.Attributes[api.AttrApproval] = string(api.NewApprovalID(sessionA, 1, "print", 0))
	case "other":
		e.Attributes[api.AttrApproval] = string(api.NewApprovalID(api.NewSessionID(time.Unix(2, 0), 7, [10]byte{9}), 1, "print", 0))
	}
	if digit := w.arg(c, "checkpoint"); digit != "" {
		e.Attributes[api.AttrCheckpoint] = strings.Repeat(digit, 64)
	}
	var id spoke.WorkloadID
	if n := w.one(c, "attempt", 0); n > 0 {
		id = workload(sessionA, api.Epoch{Incarnation: 1, N: w.one(c, "epoch", 1)}, uint32(n))
	} else {
		id = w.running()
	}
	w.number++
	e.SourceNumber = w.number
	w.core.Take(spoke.Events(id, []api.Event{e}, func(err error) {
		if err != nil {
			w.number--
		}
		w.answered(err)
	}))
}
