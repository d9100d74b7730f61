package storetest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/internal/run"
)

func sessionID(shard api.Shard, n int) api.SessionID {
	return api.NewSessionID(began.Add(time.Duration(n)*time.Millisecond), shard, [10]byte{1: 5})
}

func session(shard api.Shard, n int) api.Session {
	return api.Session{ID: sessionID(shard, n), Org: org, Agent: api.ObjectID(id(n)), AgentName: "a", Key: fmt.Sprintf("key/%d", n), Labels: map[string]string{"l": "v"},
		Intent: api.IntentActive, Phase: api.PhaseDormant, Reason: "r", CreatedAt: began, LastSequence: uint64(n), HubNumber: 7,
		Cancelled: api.Cancellation{UpTo: 3, Reason: "c"}}
}

func signal(shard api.Shard, n int, sequence uint64) api.Signal {
	return api.Signal{ID: api.SignalID(id(n)), Session: sessionID(shard, n), Sequence: sequence, IdempotencyKey: "k", PayloadHash: [32]byte{1, 2}, Payload: []byte{0, 255},
		PayloadRef: "ref", Sender: "s", AcceptedAt: began, Deliveries: 3, ConsumedBy: api.Source{Epoch: api.Epoch{Incarnation: 1, N: 2}, Attempt: 1}, ConsumedNumber: 4, ConsumedAs: api.OutcomeCancelled,
		Origin: []api.Origin{{Session: sessionID(shard, 1), Agent: "a", Key: "k/\u00e9", Signal: "x"}, {Agent: "b"}}, Approval: "y"}
}

func outbox(shard api.Shard, n int, number uint64) hub.OutboxItem {
	return hub.OutboxItem{Event: api.Event{Session: sessionID(shard, n), SourceNumber: number, Type: api.EventPlaced, Time: began, Cluster: "c", Text: "t",
		Signals: []uint64{1, 2}, Outcome: api.OutcomeDone, Attributes: map[string]string{"a": "b"}}}
}

func approval(shard api.Shard, n int, fingerprint string) api.Approval {
	return api.Approval{ID: api.NewApprovalID(sessionID(shard, n), 1, fingerprint, 0), Session: sessionID(shard, n), Org: api.DefaultOrg,
		Source: api.Source{Epoch: api.Epoch{Incarnation: 1, N: 2}, Attempt: 3}, Sequence: 4, Fingerprint: fingerprint, Title: "t", Detail: "d",
		Options: []api.ApprovalOption{{ID: "o", Name: "O", Kind: api.OptionAllowOnce}, {ID: "p", Name: "P", Kind: api.OptionRejectAlways}},
		AskedAt: began, ExpiresAt: began.Add(time.Hour), HeldUntil: began.Add(time.Minute), State: api.ApprovalApproved, Option: "o", By: "b", Reason: "r",
		AnsweredAt: began.Add(time.Second), Taken: true, Detached: true, Moot: true, Signal: "s"}
}

func checkpoint(n uint64) api.CheckpointID { return api.CheckpointID(fmt.Sprintf("%064x", n)) }

func claim(t *testing.T, r Replica, shard api.Shard) api.Head {
	t.Helper()
	h, err := r.Claim(t.Context(), shard)
	must(t, "Claim", err)
	return h
}

func putSession(shard api.Shard, from api.Head, n int) hub.Batch {
	s := session(shard, n)
	return hub.Batch{Shard: shard, From: from, Mutations: []hub.Mutation{{Org: api.DefaultOrg, PutSession: &s}}}
}

func wantShard(t tester, r Replica, shard api.Shard, head api.Head, want hub.ShardContents) {
	t.Helper()
	h, err := r.Head(t.Context(), shard)
	must(t, "Head", err)
	wantSame(t, fmt.Sprintf("head of shard %d", shard), h, head)
	got, err := r.Load(t.Context(), shard)
	must(t, "Load", err)
	wantSame(t, fmt.Sprintf("shard %d", shard), got, want)
}

func testClaimFences(t *testing.T, s Stores) {
	ctx := t.Context()
	h, err := s.One.Head(ctx, 255)
	must(t, "Head", err)
	wantSame(t, "head of an unclaimed shard", h, api.Head{})
	first := claim(t, s.One, 255)
	wantSame(t, "first head", first, api.Head{Generation: api.Generation{Incarnation: 1, N: 1}})
	b := putSession(255, first, 1)
	must(t, "Commit", s.One.Commit(ctx, []hub.Batch{b}))
	contents := hub.ShardContents{Sessions: []api.Session{session(255, 1)}}
	wantShard(t, s.Other, 255, b.Next(), contents)

	second := claim(t, s.Other, 255)
	wantSame(t, "second head", second, api.Head{Generation: api.Generation{Incarnation: 1, N: 2}, Batch: 1})
	wantCode(t, "a commit of the former owner", s.One.Commit(ctx, []hub.Batch{putSession(255, b.Next(), 2)}), api.CodeConflict)
	wantShard(t, s.One, 255, second, contents)
	must(t, "a commit of the owner", s.Other.Commit(ctx, []hub.Batch{{Shard: 255, From: second}}))
	wantShard(t, s.One, 255, api.Head{Generation: second.Generation, Batch: 2}, contents)
	wantCode(t, "the same batch again", s.Other.Commit(ctx, []hub.Batch{{Shard: 255, From: second}}), api.CodeConflict)
}

func testConcurrentClaims(t *testing.T, s Stores) {
	const claims = 20
	heads := make([]api.Head, claims)
	g := run.NewGroup(t.Context())
	for i := range claims {
		g.Go("claim", func(ctx context.Context) (err error) {
			heads[i], err = []Replica{s.One, s.Other}[i%2].Claim(ctx, 4)
			return err
		})
	}
	must(t, "claims", g.Wait())
	slices.SortFunc(heads, api.Head.Compare)
	for i, h := range heads {
		if h.Generation.N != uint64(i+1) {
			t.Fatalf("generations %v: want each once, from 1", heads)
		}
	}
}

// testClaimsOfAllShards lets two replicas claim all shards at once, while an owner commits: each generation is given once, and
// nothing that was committed is lost.
func testClaimsOfAllShards(t *testing.T, s Stores) {
	busy := claim(t, s.One, 9)
	heads := make([][]api.Head, api.Shards)
	var mu sync.Mutex
	over := make(chan struct{}) // closed when all have claimed
	owner := run.NewGroup(t.Context())
	owner.Go("owner", func(ctx context.Context) error {
		for n := 1; ; n++ {
			select {
			case <-over:
				return nil
			default:
			}
			b := putSession(9, busy, n)
			switch err := s.One.Commit(ctx, []hub.Batch{b}); {
			case err == nil:
				busy = b.Next()
			case api.CodeOf(err) == api.CodeConflict:
				return nil
			default:
				return err
			}
		}
	})
	g := run.NewGroup(t.Context())
	for i := range 2 * api.Shards {
		g.Go("claim", func(ctx context.Context) error {
			shard := api.Shard(i % api.Shards)
			h, err := []Replica{s.One, s.Other}[i/api.Shards%2].Claim(ctx, shard)
			mu.Lock()
			defer mu.Unlock()
			heads[shard] = append(heads[shard], h)
			return err
		})
	}
	err := g.Wait()
	close(over)
	must(t, "owner", owner.Wait())
	must(t, "claims", err)
	for shard, all := range heads {
		first := uint64(1)
		if shard == 9 {
			first = 2
		}
		slices.SortFunc(all, api.Head.Compare)
		for i, h := range all {
			if h.Generation.N != first+uint64(i) {
				t.Fatalf("generations %v of shard %d: want each once, from %d", all, shard, first)
			}
		}
		last := all[len(all)-1]
		if shard == 9 && last.Batch != busy.Batch {
			t.Errorf("the last claim goes on after batch %d, and %d were committed", last.Batch, busy.Batch)
		}
		h, err := s.Other.Head(t.Context(), api.Shard(shard))
		must(t, "Head", err)
		wantSame(t, fmt.Sprintf("head of shard %d", shard), h, last)
	}
}

func testCommitAllOrNone(t *testing.T, s Stores) {
	ctx := t.Context()
	must(t, "an empty commit", s.One.Commit(ctx, nil))
	a, b := claim(t, s.One, 1), claim(t, s.One, 2)
	batches := []hub.Batch{putSession(1, a, 1), putSession(2, b, 1)}
	must(t, "Commit", s.One.Commit(ctx, batches))
	a, b = batches[0].Next(), batches[1].Next()
	stale := b
	stale.Batch--
	one, two := hub.ShardContents{Sessions: []api.Session{session(1, 1)}}, hub.ShardContents{Sessions: []api.Session{session(2, 1)}}
	for what, heads := range map[string][2]api.Head{"a stale head": {a, stale}, "no head": {a, {}}, "a later head": {a, {Generation: b.Generation, Batch: b.Batch + 1}},
		"another generation": {a, {Generation: api.Generation{Incarnation: 1, N: 9}, Batch: b.Batch}}} {
		err := s.One.Commit(ctx, []hub.Batch{putSession(1, heads[0], 2), putSession(2, heads[1], 2)})
		wantCode(t, "a commit with "+what, err, api.CodeConflict)
		wantShard(t, s.Other, 1, a, one)
		wantShard(t, s.Other, 2, b, two)
	}
	must(t, "a commit on a shard that nobody claimed", s.One.Commit(ctx, []hub.Batch{putSession(3, api.Head{}, 1)}))
	wantShard(t, s.Other, 3, api.Head{Batch: 1}, hub.ShardContents{Sessions: []api.Session{session(3, 1)}})
}

// testConsumedSignals follows a signal from acceptance over its consumption, and back when the state went back, to its end.
func testConsumedSignals(t *testing.T, s Stores) {
	ctx, head := t.Context(), claim(t, s.One, 9)
	a, b := signal(9, 1, 1), signal(9, 1, 2)
	b.ReplayOf = "01HZY0000000000000000000AB"
	commit := func(mutations ...hub.Mutation) {
		t.Helper()
		batch := hub.Batch{Shard: 9, From: head, Mutations: mutations}
		must(t, "Commit", s.One.Commit(ctx, []hub.Batch{batch}))
		head = batch.Next()
	}
	commit(hub.Mutation{Org: org, PutSignal: &a}, hub.Mutation{Org: org, PutSignal: &b})
	wantShard(t, s.Other, 9, head, hub.ShardContents{Signals: []api.Signal{a, b}})
	a.ConsumedBy, a.ConsumedNumber = api.Source{Epoch: api.Epoch{Incarnation: 1, N: 3}, Attempt: 2}, 40
	commit(hub.Mutation{Org: org, PutSignal: &a})
	wantShard(t, s.Other, 9, head, hub.ShardContents{Signals: []api.Signal{a, b}})
	a.ConsumedBy, a.ConsumedNumber = api.Source{}, 0
	commit(hub.Mutation{Org: org, PutSignal: &a})
	wantShard(t, s.Other, 9, head, hub.ShardContents{Signals: []api.Signal{a, b}})
	commit(hub.Mutation{Org: org, DeleteSignal: &hub.SignalKey{Session: a.Session, Sequence: 1}}, hub.Mutation{Org: org, DeleteSignal: &hub.SignalKey{Session: a.Session, Sequence: 2}})
	wantShard(t, s.Other, 9, head, hub.ShardContents{})
}

func testAliveCompared(t *testing.T, s Stores) {
	ctx := t.Context()
	live, dead := register(t, s.One, 1), register(t, s.One, 2)
	must(t, "Take", s.One.Take(ctx, live.ID, holder("b", "j"), time.Minute))
	h := claim(t, s.One, 7)
	b := putSession(7, h, 1)
	b.Alive = []api.ClusterID{live.ID, dead.ID}
	wantCode(t, "a commit for a dead cluster", s.One.Commit(ctx, []hub.Batch{b}), api.CodeConflict)
	wantShard(t, s.Other, 7, h, hub.ShardContents{})
	b.Alive = []api.ClusterID{live.ID, live.ID}
	must(t, "a commit for a live cluster", s.One.Commit(ctx, []hub.Batch{b}))
	wantShard(t, s.Other, 7, b.Next(), hub.ShardContents{Sessions: []api.Session{session(7, 1)}})
}

func testLoadsManyKeys(t *testing.T, s Stores) {
	const sessions, signals = 200, 12 // more than any page
	ctx, want := t.Context(), hub.ShardContents{}
	b := hub.Batch{Shard: 9, From: claim(t, s.One, 9)}
	flush := func() {
		must(t, "Commit", s.One.Commit(ctx, []hub.Batch{b}))
		b.From, b.Mutations = b.Next(), nil
	}
	for n := range sessions {
		x := session(9, n)
		want.Sessions = append(want.Sessions, x)
		b.Mutations = append(b.Mutations, hub.Mutation{Org: api.DefaultOrg, PutSession: &x})
		for q := range uint64(signals) {
			y := signal(9, n, q+1)
			want.Signals = append(want.Signals, y)
			b.Mutations = append(b.Mutations, hub.Mutation{Org: api.DefaultOrg, PutSignal: &y})
		}
		if len(b.Mutations) > 80 {
			flush()
		}
	}
	flush()
	wantShard(t, s.Other, 9, b.From, want)
}

// testLoadsAtOneMoment loads a shard of several pages while its first and last session are changed together: they must be
// seen equal.
func testLoadsAtOneMoment(t *testing.T, s Stores) {
	const sessions, loads = 2500, 15
	b := hub.Batch{Shard: 9, From: claim(t, s.One, 9)}
	put := func(n int, sequence uint64) {
		x := session(9, n)
		x.LastSequence = sequence
		b.Mutations = append(b.Mutations, hub.Mutation{Org: api.DefaultOrg, PutSession: &x})
	}
	commit := func(ctx context.Context) error {
		err := s.One.Commit(ctx, []hub.Batch{b})
		b.From, b.Mutations = b.Next(), nil
		return err
	}
	for n := range sessions {
		if put(n, 0); len(b.Mutations) == 100 {
			must(t, "Commit", commit(t.Context()))
		}
	}
	g := run.NewGroup(t.Context())
	var done atomic.Bool
	g.Go("writer", func(ctx context.Context) error {
		for n := uint64(1); !done.Load(); n++ {
			put(0, n)
			put(sessions-1, n)
			if err := commit(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	g.Go("loader", func(ctx context.Context) error {
		defer done.Store(true)
		for range loads {
			c, err := s.Other.Load(ctx, 9)
			if err != nil {
				return err
			}
			if len(c.Sessions) != sessions {
				return fmt.Errorf("%d sessions, want %d", len(c.Sessions), sessions)
			}
			if a, z := c.Sessions[0].LastSequence, c.Sessions[sessions-1].LastSequence; a != z {
				return fmt.Errorf("the first session is of change %d and the last of %d", a, z)
			}
		}
		return nil
	})
	must(t, "writer and loader", g.Wait())
}

// testLimits commits exactly as much as one transaction holds, and then a little more: that is refused and nothing of it is
// written.
func testLimits(t *testing.T, s Stores) {
	ctx, limits := t.Context(), s.One.Limits()
	heads := map[api.Shard]api.Head{}
	for shard := range api.Shard(4) {
		heads[shard] = claim(t, s.One, shard)
	}
	batches := func(ops, payload int) []hub.Batch {
		var out []hub.Batch
		for shard := range api.Shard(4) {
			b := hub.Batch{Shard: shard, From: heads[shard]}
			for n := range ops/4 - 1 {
				x := signal(shard, 1, uint64(n+1))
				x.Payload = bytes.Repeat([]byte{1}, payload)
				b.Mutations = append(b.Mutations, hub.Mutation{Org: org, PutSignal: &x})
			}
			out = append(out, b)
		}
		return out
	}
	commit := func(what string, code api.Code, b []hub.Batch) {
		t.Helper()
		wantCode(t, what, s.One.Commit(ctx, b), code)
		for i, x := range b {
			if code == "" {
				heads[api.Shard(i)] = x.Next()
			}
			h, err := s.Other.Head(ctx, api.Shard(i))
			must(t, "Head", err)
			wantSame(t, "head after "+what, h, heads[api.Shard(i)])
		}
	}
	full := limits.Ops / 4 * 4
	commit("as many operations as there may be", "", batches(full, 10))
	commit("more operations", api.CodeLimit, batches(full+4, 10))
	commit("as many bytes as there may be", "", batches(64, limits.Bytes/64))
	commit("more bytes", api.CodeLimit, batches(64, limits.Bytes/64*2))
	c, err := s.Other.Load(ctx, 3)
	must(t, "Load", err)
	if len(c.Signals) != full/4-1 {
		t.Errorf("%d signals, want the %d of the largest transaction", len(c.Signals), full/4-1)
	}
}

func testRefusesDefects(t *testing.T, s Stores) {
	h := claim(t, s.One, 5)
	for what, batches := range map[string][]hub.Batch{
		"two batches of one shard": {putSession(5, h, 1), putSession(5, h, 2)},
		"an empty mutation":        {{Shard: 5, From: h, Mutations: []hub.Mutation{{}}}},
	} {
		wantCode(t, what, s.One.Commit(t.Context(), batches), api.CodeInternal)
	}
	wantShard(t, s.Other, 5, h, hub.ShardContents{})
}

// model is a shard in memory.
type model struct {
	head     api.Head
	sessions map[api.SessionID]api.Session
	signals  map[hub.SignalKey]api.Signal
	outbox   map[hub.OutboxKey]hub.OutboxItem

	approvals map[api.ApprovalID]api.Approval
}

func (m *model) contents() hub.ShardContents {
	var c hub.ShardContents
	for _, s := range m.sessions {
		c.Sessions = append(c.Sessions, s)
	}
	for _, s := range m.signals {
		c.Signals = append(c.Signals, s)
	}
	for _, o := range m.outbox {
		c.Outbox = append(c.Outbox, o)
	}
	for _, a := range m.approvals {
		c.Approvals = append(c.Approvals, a)
	}
	slices.SortFunc(c.Approvals, func(a, b api.Approval) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(c.Sessions, func(a, b api.Session) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(c.Signals, func(a, b api.Signal) int {
		return cmp.Or(cmp.Compare(a.Session, b.Session), cmp.Compare(a.Sequence, b.Sequence))
	})
	slices.SortFunc(c.Outbox, func(a, b hub.OutboxItem) int {
		return cmp.Or(cmp.Compare(a.Event.Session, b.Event.Session), cmp.Compare(a.Event.SourceNumber, b.Event.SourceNumber))
	})
	return c
}

func (m *model) apply(b hub.Batch) {
	m.head = b.Next()
	for _, x := range b.Mutations {
		switch {
		case x.PutSession != nil:
			m.sessions[x.PutSession.ID] = *x.PutSession
		case x.PutSignal != nil:
			m.signals[hub.SignalKey{Session: x.PutSignal.Session, Sequence: x.PutSignal.Sequence}] = *x.PutSignal
		case x.DeleteSignal != nil:
			delete(m.signals, *x.DeleteSignal)
		case x.PutOutbox != nil:
			m.outbox[hub.OutboxKey{Session: x.PutOutbox.Event.Session, Number: x.PutOutbox.Event.SourceNumber}] = *x.PutOutbox
		case x.DeleteOutbox != nil:
			delete(m.outbox, *x.DeleteOutbox)
		case x.PutApproval != nil:
			m.approvals[x.PutApproval.ID] = *x.PutApproval
		case x.DeleteApproval != "":
			delete(m.approvals, x.DeleteApproval)
		case x.DeleteSession != "":
			delete(m.sessions, x.DeleteSession)
		}
	}
}

// testShardModel commits random batches of three shards, some from heads that are wrong, and compares with the model.
func testShardModel(t *testing.T, s Stores) {
	ctx := t.Context()
	models := map[api.Shard]*model{}
	for _, shard := range []api.Shard{0, 100, 255} {
		models[shard] = &model{sessions: map[api.SessionID]api.Session{}, signals: map[hub.SignalKey]api.Signal{}, outbox: map[hub.OutboxKey]hub.OutboxItem{},
			approvals: map[api.ApprovalID]api.Approval{}}
	}
	shards := []api.Shard{0, 100, 255}
	rapid.Check(t, func(rt *rapid.T) {
		for range rapid.IntRange(1, 6).Draw(rt, "commits") {
			replica := rapid.SampledFrom([]Replica{s.One, s.Other}).Draw(rt, "replica")
			if rapid.IntRange(0, 9).Draw(rt, "claim") == 0 {
				shard := rapid.SampledFrom(shards).Draw(rt, "claimed")
				h, err := replica.Claim(ctx, shard)
				want := api.Head{Generation: api.Generation{Incarnation: 1, N: models[shard].head.Generation.N + 1}, Batch: models[shard].head.Batch}
				if err != nil || h != want {
					rt.Fatalf("Claim = %v, %v; want %v", h, err, want)
				}
				models[shard].head = h
			}
			var (
				batches []hub.Batch
				wrong   bool
			)
			for _, shard := range rapid.SliceOfNDistinct(rapid.SampledFrom(shards), 1, 3, rapid.ID).Draw(rt, "shards") {
				b := hub.Batch{Shard: shard, From: models[shard].head, Mutations: rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) hub.Mutation { return drawMutation(rt, shard) }), 0, 12).Draw(rt, "mutations")}
				if rapid.IntRange(0, 9).Draw(rt, "wrong") == 0 {
					b.From.Batch += 3
					wrong = true
				}
				batches = append(batches, b)
			}
			err := replica.Commit(ctx, batches)
			if wrong && api.CodeOf(err) != api.CodeConflict || !wrong && err != nil {
				rt.Fatalf("Commit = %v, wrong head: %v", err, wrong)
			}
			if !wrong {
				for _, b := range batches {
					models[b.Shard].apply(b)
				}
			}
		}
		for shard, m := range models {
			wantShard(rt, s.Other, shard, m.head, m.contents())
		}
	})
}

func drawMutation(rt *rapid.T, shard api.Shard) hub.Mutation {
	n, q := rapid.IntRange(0, 3).Draw(rt, "session"), uint64(rapid.IntRange(1, 12).Draw(rt, "number"))
	switch rapid.IntRange(0, 7).Draw(rt, "what") {
	case 0:
		x := session(shard, n)
		if rapid.Bool().Draw(rt, "paused") {
			x.Intent, x.Pauses, x.StartFailures = api.IntentPaused, []api.PauseReason{api.PausePerson, api.PauseStartFailures}, uint32(q)
		}
		for i := range q % 4 {
			x.Checkpoints = append(x.Checkpoints, checkpoint(i))
		}
		x.Reason, x.Key = rapid.String().Draw(rt, "reason"), rapid.StringN(1, 5, 256).Draw(rt, "key")
		x.Epoch = api.Epoch{Incarnation: 1, N: q}
		if q%2 == 0 {
			x.SavedIn = api.Epoch{Incarnation: 1, N: q - 1}
		}
		if rapid.Bool().Draw(rt, "assigned") {
			x.Assignment = &api.Assignment{Cluster: "c", Epoch: x.Epoch, AgentRevision: q, Summary: "s", Releasing: q%2 == 0, Checkpoint: x.Checkpoint(),
				StopAfter: rapid.SampledFrom([]time.Duration{api.StopNever, time.Minute, 8500 * time.Millisecond}).Draw(rt, "stop after")}
		}
		if q%3 == 0 {
			x.CreatedAt, x.Labels = time.Time{}, nil
		}
		return hub.Mutation{Org: api.DefaultOrg, PutSession: &x}
	case 1:
		x := signal(shard, n, q)
		x.Payload = rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(rt, "payload")
		if rapid.Bool().Draw(rt, "consumed") {
			x.ConsumedBy, x.ConsumedNumber = api.Source{Epoch: api.Epoch{Incarnation: 1, N: q}, Attempt: 2}, q
		}
		if q%5 == 0 {
			x.ReplayOf = "dead"
		}
		return hub.Mutation{Org: api.DefaultOrg, PutSignal: &x}
	case 2:
		return hub.Mutation{Org: api.DefaultOrg, DeleteSignal: &hub.SignalKey{Session: sessionID(shard, n), Sequence: q}}
	case 3:
		x := outbox(shard, n, q)
		x.Event.Text = rapid.String().Draw(rt, "text")
		if rapid.Bool().Draw(rt, "decided") {
			x.Decision = &api.Decision{Session: x.Event.Session, Epoch: api.Epoch{Incarnation: 1, N: q}, Time: began, Cluster: "c", Summary: "s", Candidates: []api.Candidate{
				{Cluster: "c", Name: "n", Chosen: true, Score: -3, Terms: []api.ScoreTerm{{Name: "price", Value: -3, Detail: "d"}}}, {Cluster: "d", Reason: api.ReasonTaint}}}
		}
		return hub.Mutation{Org: api.DefaultOrg, PutOutbox: &x}
	case 4:
		return hub.Mutation{Org: api.DefaultOrg, DeleteOutbox: &hub.OutboxKey{Session: sessionID(shard, n), Number: q}}
	case 5:
		x := approval(shard, n, fmt.Sprint(q))
		if rapid.Bool().Draw(rt, "open") {
			x = api.Approval{ID: x.ID, Session: x.Session, Org: x.Org, State: api.ApprovalOpen, Detail: rapid.String().Draw(rt, "detail")}
		}
		return hub.Mutation{Org: api.DefaultOrg, PutApproval: &x}
	case 6:
		return hub.Mutation{Org: api.DefaultOrg, DeleteApproval: approval(shard, n, fmt.Sprint(q)).ID}
	default:
		return hub.Mutation{Org: api.DefaultOrg, DeleteSession: sessionID(shard, n)}
	}
}
