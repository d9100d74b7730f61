package hub_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// asks sends the beginning of a turn that asks for permissions.
func (s *fakeSpoke) asks(d api.Desired, fingerprints ...string) []api.ApprovalID {
	s.b.w.t.Helper()
	src := api.Source{Epoch: d.Epoch, Attempt: 1}
	batch := api.EventBatch{Session: d.Session, Source: src}
	add := func(e api.Event) {
		s.number[src]++
		e.SourceNumber, e.Time, e.Signals = s.number[src], time.Now().UTC(), sequences(d)
		batch.Events = append(batch.Events, e)
	}
	add(api.Event{Type: api.EventTurn})
	var ids []api.ApprovalID
	for _, f := range fingerprints {
		id := api.NewApprovalID(d.Session, d.Signals[0].Sequence, f, 0)
		ids = append(ids, id)
		add(api.Event{Type: api.EventAsked, Text: "wants to " + f, Attributes: map[string]string{api.AttrApproval: string(id), api.AttrTitle: f,
			api.AttrFingerprint: f, api.AttrHold: "60s", api.AttrOptions: `[{"id":"y","name":"Yes","kind":"allow_once"},{"id":"n","name":"No","kind":"reject_once"}]`}})
	}
	s.send(api.SpokeMessage{Events: []api.EventBatch{batch}})
	s.acks(src)
	return ids
}

// says sends one event of a session's workload.
func (s *fakeSpoke) says(d api.Desired, e api.Event) {
	s.b.w.t.Helper()
	src := api.Source{Epoch: d.Epoch, Attempt: 1}
	s.number[src]++
	e.SourceNumber, e.Time = s.number[src], time.Now().UTC()
	s.send(api.SpokeMessage{Events: []api.EventBatch{{Session: d.Session, Source: src, Events: []api.Event{e}}}})
	s.acks(src)
}

func (s *fakeSpoke) toldOf(id api.SessionID, answers int) api.Desired {
	s.b.w.t.Helper()
	var d api.Desired
	eventually(s.b.w.t, fmt.Sprintf("%s is told %d answers", s.name, answers), func() string {
		if d, _ = s.want(id); len(d.Answers) != answers {
			return fmt.Sprint(d.Answers)
		}
		return ""
	})
	return d
}

func (b *brain) answer(id api.ApprovalID, approve bool, by string) (hub.ApprovalView, error) {
	return b.Answer(b.w.t.Context(), hub.AnswerRequest{Org: api.DefaultOrg, Approval: id, Approve: approve, By: by, Reason: "because"})
}

func (b *brain) approvals(f hub.ApprovalFilter, size int, token string) ([]api.ApprovalID, string) {
	b.w.t.Helper()
	views, next, err := b.Approvals(b.w.t.Context(), api.DefaultOrg, f, size, token)
	must(b.w.t, err)
	var ids []api.ApprovalID
	for _, v := range views {
		ids = append(ids, v.ID)
	}
	return ids, next
}

// An agent asks; a person answers at another hub than the one that was asked; the workload is told once the answer is durable,
// and an answer that it did not wait for comes as a signal.
func TestAnApprovalIsAnsweredOnceAndOutlivesTheHub(t *testing.T) {
	w := newBrains(t)
	c := w.cluster("aws")
	reg := prometheus.NewRegistry()
	b := w.start(func(c *hub.Config) { c.Metrics = reg })
	s := b.attach("aws", 4)
	a := b.accept("alice", "", "x")
	d := s.gets(a.Session, 1)
	ids := s.asks(d, "rm", "mv")
	listed, _ := b.approvals(hub.ApprovalFilter{}, 10, "")
	if want := slices.Sorted(slices.Values(ids)); !slices.Equal(slices.Sorted(slices.Values(listed)), want) {
		t.Fatalf("listed are %v, want %v", listed, want)
	}
	v, err := b.Approval(t.Context(), api.DefaultOrg, ids[0])
	must(t, err)
	if v.State != api.ApprovalOpen || v.Title != "rm" || v.Detail != "wants to rm" || v.AgentName != "a" || v.Key != "alice" || v.Cluster != c || len(v.Options) != 2 ||
		v.Sequence != 1 || v.HeldUntil.Sub(v.AskedAt) != time.Minute || v.ExpiresAt.Sub(v.AskedAt) != 24*time.Hour {
		t.Errorf("the approval is %+v", v)
	}
	if view := b.phase(a.Session, api.PhaseStarting, 1); view.Asking != 2 {
		t.Errorf("the session has %d open approvals, want 2", view.Asking)
	}
	_, err = b.Approval(t.Context(), "other", ids[0])
	refused(t, "an approval of another organization", err, api.CodeNotFound, "id")
	_, err = b.Answer(t.Context(), hub.AnswerRequest{Org: "other", Approval: ids[0], Approve: true, By: "x"})
	refused(t, "an answer from another organization", err, api.CodeNotFound, "id")

	first, err := b.answer(ids[0], true, "ann")
	must(t, err)
	if first.State != api.ApprovalApproved || first.Option != "y" || first.By != "ann" {
		t.Errorf("answered: %+v", first)
	}
	again, err := b.answer(ids[0], true, "bob")
	if must(t, err); again.By != "ann" || !again.AnsweredAt.Equal(first.AnsweredAt) {
		t.Errorf("the same answer again: %+v", again)
	}
	_, err = b.answer(ids[0], false, "bob")
	refused(t, "another answer", err, api.CodeConflict, "id")
	if !strings.Contains(err.Error(), "ann") {
		t.Errorf("the conflict does not say who answered: %v", err)
	}
	d = s.toldOf(a.Session, 1)
	if got := d.Answers[0]; got != (api.ApprovalAnswer{Approval: ids[0], Allow: true, Option: "y", By: "ann", Reason: "because"}) {
		t.Errorf("the spoke is told %+v", got)
	}
	eventually(t, "the metrics count", func() string {
		b.queried(a.Session) // a shard counts after a turn
		got := values(t, reg)
		if open, approved := got["nave_hub_approvals Open"], got["nave_hub_approvals Approved"]; open != 1 || approved != 1 {
			return fmt.Sprintf("%v open, %v approved", open, approved)
		}
		s.held(a.Session, api.HeldRunning, "") // a shard counts after a turn
		return ""
	})
	must(t, b.stop())

	b = w.start()
	s2 := b.attach("aws", 4, s.report(a.Session, api.HeldRunning, ""))
	s2.number = s.number
	s2.toldOf(a.Session, 1)
	s2.says(d, api.Event{Type: api.EventTaken, Attributes: map[string]string{api.AttrApproval: string(ids[0])}})
	s2.toldOf(a.Session, 0)
	s2.says(d, api.Event{Type: api.EventTurnDone, Signals: []uint64{1}, Outcome: api.OutcomeCancelled})
	v, err = b.answer(ids[1], false, "bob")
	if must(t, err); v.Signal == "" {
		t.Fatalf("the answer that nobody waits for became no signal: %+v", v)
	}
	d = s2.gets(a.Session, 1)
	if sig := d.Signals[0]; sig.ID != v.Signal || sig.Approval != ids[1] || sig.Sender != "bob" || sig.Sequence != 2 || !strings.Contains(string(sig.Payload), `"decision":"denied"`) {
		t.Errorf("the signal is %+v", sig)
	}
	closed, _ := b.approvals(hub.ApprovalFilter{Closed: true}, 10, "")
	if open, _ := b.approvals(hub.ApprovalFilter{}, 10, ""); len(open) != 0 || !slices.Equal(closed, []api.ApprovalID{ids[1], ids[0]}) {
		t.Errorf("open are %v, all %v: want the one that was answered last first", open, closed)
	}
	eventually(t, "both answers are in the log", func() string { return atLeast(w.count(a.Session, api.EventAnswered), 2) })
}

// Pages of the list are whole: the open ones first.
func TestApprovalsAreListedByPages(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	b := w.start()
	s := b.attach("aws", 4)
	var want []api.ApprovalID
	d := s.gets(b.accept("alice", "", "x").Session, 1)
	for _, what := range []string{"rm", "ls", "cat"} {
		want = append(want, s.asks(d, what)...)
	}
	other := s.asks(d, "mv", "cp")
	for _, id := range other {
		_, err := b.answer(id, true, "ann")
		must(t, err)
		want = append(want, id)
	}
	slices.Reverse(want[3:])
	var got []api.ApprovalID
	token := ""
	for {
		page, next := b.approvals(hub.ApprovalFilter{Closed: true}, 2, token)
		if got, token = append(got, page...), next; token == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the pages have %v, want %v", got, want)
	}
	for session, n := range map[api.SessionID]int{d.Session: 5, api.SessionID(newULID()): 0} {
		if some, _ := b.approvals(hub.ApprovalFilter{Session: session, Closed: true}, 10, ""); len(some) != n {
			t.Errorf("of session %s: %v, want %d", session, some, n)
		}
	}
	if none, _ := b.approvals(hub.ApprovalFilter{Agent: "nobody", Closed: true}, 10, ""); len(none) != 0 {
		t.Errorf("of another agent: %v", none)
	}
	_, _, err := b.Approvals(t.Context(), api.DefaultOrg, hub.ApprovalFilter{}, 10, "x")
	refused(t, "a token of nothing", err, api.CodeInvalid, "page_token")
}

func TestCancelIsDurableAndTold(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	b := w.start()
	a := b.accept("alice", "", "x")
	s := b.attach("aws", 4)
	s.gets(a.Session, 1)
	cancel := func(upTo uint64, note string) (hub.CancelAnswer, error) {
		return b.Cancel(t.Context(), hub.CancelRequest{Org: api.DefaultOrg, Session: a.Session, UpTo: upTo, By: "ann", Note: note})
	}
	_, err := cancel(7, "")
	refused(t, "a signal that is not there", err, api.CodeInvalid, "up_to")
	_, err = cancel(0, strings.Repeat("x", 1025))
	refused(t, "a long note", err, api.CodeLimit, "note")
	got, err := cancel(0, "wrong door")
	if must(t, err); !got.Changed || got.UpTo != 1 || got.Waits {
		t.Errorf("cancelled: %+v", got)
	}
	if got, err = cancel(1, ""); err != nil || got.Changed {
		t.Errorf("again: %+v, %v", got, err)
	}
	must(t, b.stop())
	b = w.start()
	s2 := b.attach("aws", 4, s.report(a.Session, api.HeldRunning, ""))
	d := s2.gets(a.Session, 1)
	if d.Cancelled != (api.Cancellation{UpTo: 1, Reason: "cancelled by ann: wrong door"}) {
		t.Errorf("the next hub tells %+v", d.Cancelled)
	}
	src := api.Source{Epoch: d.Epoch, Attempt: 1}
	s2.says(d, api.Event{Type: api.EventTurnDone, Signals: []uint64{1}, Outcome: api.OutcomeCancelled})
	s2.send(api.SpokeMessage{Events: []api.EventBatch{{Session: a.Session, Source: src, Events: []api.Event{s2.saved(src)}}}})
	s2.acks(src)
	rows, err := w.archive.Settled(t.Context(), []api.SignalID{a.Signal})
	if must(t, err); !rows[a.Signal] {
		t.Error("the cancelled signal is not settled")
	}
	b.phase(a.Session, api.PhaseRunning, 0)
}

// Text that is written reaches who follows it, from the session's own workload alone.
func TestDeltasReachWhoFollows(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	w.cluster("gcp")
	b := w.start()
	s := b.attach("aws", 4)
	a := b.accept("alice", "", "x")
	d := s.gets(a.Session, 1)
	foreign := b.attach("gcp", 0)
	src := api.Source{Epoch: d.Epoch, Attempt: 1}
	delta := func(text string) api.Delta {
		return api.Delta{Session: a.Session, Source: src, Stream: "m1", Type: api.EventMessage, Text: text}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var texts []string
	seen := 0
	err := b.Live(ctx, api.DefaultOrg, a.Session, 1, 0, func(e []api.Event) error {
		if seen += len(e); seen == len(e) { // the reader is there
			foreign.send(api.SpokeMessage{Deltas: []api.Delta{delta("stolen")}})
			stale := delta("stale")
			stale.Source.Epoch.N++
			s.send(api.SpokeMessage{Deltas: []api.Delta{stale, delta(strings.Repeat("x", 4097)), delta("one"), delta("two")}})
		}
		return nil
	}, func(d api.Delta) error {
		if texts = append(texts, d.Text); len(texts) == 2 {
			cancel()
		}
		return nil
	})
	if err == nil || !slices.Equal(texts, []string{"one", "two"}) {
		t.Errorf("the reader got %.40q: %v", texts, err)
	}
	// Who does not read loses deltas and no events.
	ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	texts, seen = nil, 0
	err = b.Live(ctx, api.DefaultOrg, a.Session, 1, 0, func(e []api.Event) error {
		if first := seen == 0; first {
			for n := range 3 * 256 {
				s.send(api.SpokeMessage{Deltas: []api.Delta{delta(fmt.Sprint(n))}})
			}
			b.queried(a.Session) // they passed the shard
			s.says(d, api.Event{Type: api.EventMessage, Text: "whole"})
		}
		if seen += len(e); slices.ContainsFunc(e, func(e api.Event) bool { return e.Text == "whole" }) {
			cancel()
		}
		return nil
	}, func(d api.Delta) error { texts = append(texts, d.Text); return nil })
	if err == nil || len(texts) > 256 || context.Cause(ctx) != context.Canceled {
		t.Errorf("%d deltas waited, at most 256 may: %v", len(texts), err)
	}
}

// queried waits until a session's shard has taken what was sent to it before.
func (b *brain) queried(id api.SessionID) {
	b.w.t.Helper()
	_, err := b.Session(b.w.t.Context(), api.DefaultOrg, id)
	must(b.w.t, err)
}
