package archivetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

func scope(key string) hub.KeyScope {
	return hub.KeyScope{Agent: "agent", SessionKey: "user/1", Key: key}
}

func settled(n int, key string) hub.SettledSignal {
	return hub.SettledSignal{
		Signal: api.Signal{ID: api.SignalID(fmt.Sprint("signal", n)), Session: session(shard, 1), Sequence: uint64(n), IdempotencyKey: key,
			PayloadHash: [32]byte{byte(n), 0, 9}, PayloadRef: "ref", Sender: "s", AcceptedAt: began, Deliveries: 2,
			Origin: []api.Origin{{Session: session(shard, 2), Agent: "a", Key: "k/\u00e9", Signal: "signal0"}}, Approval: "approval"},
		Scope: scope(key), Outcome: "done", SettledAt: began.Add(time.Hour),
	}
}

func settle(t *testing.T, a Archive, s ...hub.SettledSignal) error {
	t.Helper()
	return a.Append(t.Context(), []hub.Append{{Shard: shard, Generation: first, Org: org, Settled: s}})
}

func testKeys(t *testing.T, db Database) {
	a := raised(t, db)
	one, two, none, dead := settled(1, "one"), settled(2, "two"), settled(3, ""), settled(4, "dead")
	dead.Outcome, dead.Signal.AcceptedAt, dead.Signal.Payload = "dead", time.Time{}, []byte{0, 'x', 0xff}
	must(t, "settle", settle(t, a, one, two, none, dead))
	otherAgent, otherSession := scope("one"), scope("one")
	otherAgent.Agent, otherSession.SessionKey = "x", "x"
	for range 2 {
		got, err := a.Keys(t.Context(), org, []hub.KeyScope{scope("one"), scope("dead"), scope("unknown"), scope(""), otherAgent, otherSession, scope("one")})
		must(t, "Keys", err)
		wantSame(t, "keys", got, map[hub.KeyScope]hub.SettledSignal{scope("one"): one, scope("dead"): dead})
		a = db.Open(t)
	}
}

func testSettled(t *testing.T, db Database) {
	a := raised(t, db)
	is := settled(1, "k")
	must(t, "settle", settle(t, a, is))
	must(t, "the same again", settle(t, a, is, settled(2, "l")))
	again := settled(1, "k") // by a later turn: the first one counts
	again.Outcome, again.SettledAt, again.Signal.Deliveries = "dead", began, 9
	must(t, "the same signal in another way", settle(t, a, again))
	must(t, "signals without a key", settle(t, a, settled(3, ""), settled(4, "")))
	for what, change := range map[string]func(*hub.SettledSignal){
		"payload":  func(s *hub.SettledSignal) { s.Signal.PayloadHash[31]++ },
		"sequence": func(s *hub.SettledSignal) { s.Signal.Sequence++ },
		"key":      func(s *hub.SettledSignal) { s.Scope.Key = "m" },
		"signal":   func(s *hub.SettledSignal) { s.Signal.ID = "other" }, // its key is taken
	} {
		s := settled(1, "k")
		change(&s)
		wantCode(t, "another "+what, settle(t, a, settled(9, "new"), s), api.CodeInternal)
		got, err := a.Keys(t.Context(), org, []hub.KeyScope{scope("k"), scope("m"), scope("new")})
		must(t, "Keys", err)
		wantSame(t, "keys", got, map[hub.KeyScope]hub.SettledSignal{scope("k"): is})
	}
}

// testSettledIDs: more signals than one statement asks for, some of them settled.
func testSettledIDs(t *testing.T, db Database) {
	a := raised(t, db)
	const all = 1203
	var rows []hub.SettledSignal
	var ask []api.SignalID
	want := map[api.SignalID]bool{}
	for n := range all {
		s := settled(n, "")
		if n%3 == 0 {
			s.Outcome = "dead"
		}
		ask = append(ask, s.Signal.ID)
		if n%2 == 0 {
			rows = append(rows, s)
			want[s.Signal.ID] = true
		}
	}
	must(t, "settle", settle(t, a, rows...))
	for range 2 {
		got, err := a.Settled(t.Context(), ask)
		must(t, "Settled", err)
		wantSame(t, "settled signals", got, want)
		for what, ids := range map[string][]api.SignalID{"none": nil, "an unknown one": {"unknown", ""}} {
			got, err := a.Settled(t.Context(), ids)
			must(t, "Settled of "+what, err)
			wantSame(t, "settled of "+what, got, map[api.SignalID]bool{})
		}
		a = db.Open(t)
	}
}

func decision(s api.SessionID, n int) api.Decision {
	return api.Decision{Session: s, Epoch: api.Epoch{Incarnation: 1, N: uint64(n)}, Time: began.Add(time.Duration(n)), Cluster: "c", Summary: fmt.Sprint("decision ", n),
		Candidates: []api.Candidate{{Cluster: "c", Name: "n", Chosen: true, Score: 3, Terms: []api.ScoreTerm{{Name: "price", Value: 3, Detail: "d"}}},
			{Cluster: "d", Name: "m", Reason: api.ReasonTaint, Detail: "k=v"}}}
}

func testDecisions(t *testing.T, db Database) {
	ctx, s, other := t.Context(), session(shard, 1), session(shard, 2)
	a := raised(t, db)
	record := func(d ...api.Decision) error {
		return a.Append(ctx, []hub.Append{{Shard: shard, Generation: first, Org: org, Decisions: d}})
	}
	nothing := decision(s, 4)
	nothing.Epoch, nothing.Cluster, nothing.Candidates = api.Epoch{}, "", nil
	must(t, "record", record(decision(s, 1), decision(other, 1), decision(s, 2)))
	must(t, "record", record(decision(s, 3)))
	must(t, "the same again", record(decision(s, 2), nothing, decision(s, 3)))
	changed := decision(s, 3)
	changed.Summary = "x"
	wantCode(t, "another content", record(decision(s, 9), changed), api.CodeInternal)
	all := []api.Decision{nothing, decision(s, 3), decision(s, 2), decision(s, 1)}
	for _, limit := range []int{0, 1, 3, 9} {
		got, err := a.Decisions(ctx, org, s, limit)
		must(t, "Decisions", err)
		wantSame(t, fmt.Sprintf("Decisions(%d)", limit), got, all[:min(limit, 4)])
	}
}
