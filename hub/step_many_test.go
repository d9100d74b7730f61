package hub

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
)

// askMany is a world in which one turn asks for n permissions, each with the longest detail.
func askMany(t *testing.T, n int) (*shardWorld, *modelSpoke, api.SessionID) {
	t.Helper()
	w := newShardWorld()
	id := w.signal("alice", "", "x").accepted.Session
	w.place("aws")
	s := w.spokes["aws"]
	w.ask(s, id, "first")
	var events []api.Event
	for i := 1; i < n; i++ {
		ev := askedFor(id, fmt.Sprint("more", i), []uint64{1}, "1m")
		ev.Text = strings.Repeat("x", api.MaxApprovalDetail+1)
		s.sessions[id].asked[api.ApprovalID(ev.Attributes[api.AttrApproval])] = true
		events = append(events, ev)
	}
	w.emit(s, id, events...)
	w.settle()
	return w, s, id
}

func (w *shardWorld) counted(id api.SessionID) map[api.ApprovalState]int {
	out := map[api.ApprovalState]int{}
	for _, a := range w.core.Approvals(id) {
		out[a.State]++
	}
	return out
}

// A turn that asks for more than there may be open is denied the rest, and none of it is more than one commit takes.
func TestOpenApprovalsAreBounded(t *testing.T) {
	const more = 30
	w, s, id := askMany(t, api.MaxOpenApprovals+more)
	if got := w.counted(id); got[api.ApprovalOpen] != api.MaxOpenApprovals || got[api.ApprovalDenied] != more {
		t.Fatalf("%v, want %d open ones and %d denied", got, api.MaxOpenApprovals, more)
	}
	h := s.sessions[id]
	if len(h.told) != more {
		t.Fatalf("the workload is told %d answers, want the %d of nave", len(h.told), more)
	}
	for _, a := range h.told {
		if a.Allow || a.By != byNave || !strings.Contains(a.Reason, "the limit") {
			t.Fatalf("the workload is told %+v", a)
		}
	}
	for _, a := range w.core.Approvals(id) {
		if len(a.Detail) > api.MaxApprovalDetail {
			t.Fatalf("a detail of %d bytes is kept", len(a.Detail))
		}
	}
	for _, a := range w.core.Approvals(id)[:60] {
		if a.State == api.ApprovalOpen {
			w.answer(a.ID, true)
		}
	}
	answered := w.counted(id)[api.ApprovalApproved]
	w.finish(s, id, api.OutcomeCancelled)
	w.settle()
	if n := w.view(id).Pending; n != answered+1 || answered < 40 {
		t.Errorf("%d signals are pending, want the first one and one for each of %d answers: no limit refuses them", n, answered)
	}
	if _, err := w.intent(id, ChangeTerminate); err != nil {
		t.Fatal(err)
	}
	if got := w.counted(id); got[api.ApprovalOpen] != 0 {
		t.Errorf("%v after the session was terminated", got)
	}
	if err := w.check(); err != nil {
		t.Fatal(err)
	}
}

// What ended is kept for a day and up to a bound; what a person answered is kept as long as its turn may be done again.
func TestEndedApprovalsAreForgotten(t *testing.T) {
	w, s, id := askMany(t, api.MaxOpenApprovals+endedApprovals+50)
	first := w.core.Approvals(id)[0].ID
	for _, a := range w.core.Approvals(id) {
		if a.State == api.ApprovalOpen {
			first = a.ID
			w.answer(first, false)
			break
		}
	}
	w.turn(CoreFacts())
	if got := w.counted(id); got[api.ApprovalOpen] != api.MaxOpenApprovals-1 || got[api.ApprovalDenied] != endedApprovals+1 {
		t.Fatalf("%v, want %d open and %d denied", got, api.MaxOpenApprovals-1, endedApprovals+1)
	}
	w.finish(s, id, api.OutcomeDone)
	w.settle()
	w.now = w.now.Add(25 * time.Hour)
	for _, a := range w.core.Approvals(id) {
		if a.State == api.ApprovalOpen {
			w.answer(a.ID, true) // too late, though nobody looked yet
			break
		}
	}
	if got := w.counted(id); got[api.ApprovalOpen] != 0 || got[api.ApprovalApproved] != 0 {
		t.Fatalf("%v after an answer that came too late", got)
	}
	w.now = w.now.Add(25 * time.Hour)
	w.turn(CoreFacts())
	if got := w.core.Approvals(id); len(got) != 1 || got[0].ID != first {
		t.Fatalf("%d are kept, want the one whose turn is not settled", len(got))
	}
	w.save(s, id, true)
	w.settle()
	w.turn(CoreFacts())
	if got := w.core.Approvals(id); len(got) != 0 || len(w.mem.approvals) != 0 {
		t.Errorf("%d are kept, want none", len(got))
	}
	if err := w.check(); err != nil {
		t.Fatal(err)
	}
}

// A harness is believed about its own session and with what has a form; what it does not say follows from the inbox.
func TestWhatAHarnessAsksIsChecked(t *testing.T) {
	w := newShardWorld()
	id := w.signal("alice", "", "x").accepted.Session
	other := w.signal("bob", "", "x").accepted.Session
	w.place("aws")
	w.place("aws")
	s := w.spokes["aws"]
	w.begin(s, id, false)
	foreign := askedFor(other, "rm", []uint64{1}, "1m")
	none := askedFor(id, "none", []uint64{1}, "1m")
	none.Attributes[api.AttrApproval] = "x"
	w.emit(s, id, foreign, none)
	w.settle()
	if n := len(w.core.Approvals(id)) + len(w.core.Approvals(other)); n != 0 {
		t.Errorf("%d approvals are kept of what is not one", n)
	}
	odd := askedFor(id, "odd", []uint64{1}, "soon")
	odd.Signals, odd.Attributes[api.AttrOptions] = nil, `[{"id":"","kind":"allow_once"},{"id":"y","name":"`+strings.Repeat("n", 300)+`","kind":"allow_always"},{"id":"no"}]`
	w.emit(s, id, odd)
	w.settle()
	got := w.core.Approvals(id)
	if len(got) != 1 {
		t.Fatalf("%d approvals, want 1", len(got))
	}
	if a := got[0]; a.Sequence != 1 || a.HeldUntil.Sub(a.AskedAt) != 30*time.Minute || len(a.Options) != 2 || a.Options[0].ID != "y" || len(a.Options[0].Name) != 256 {
		t.Errorf("it is %+v", a)
	}
}

func TestAnAnswerNamesWhatIsOffered(t *testing.T) {
	opt := func(id string, k api.OptionKind) api.ApprovalOption { return api.ApprovalOption{ID: id, Kind: k} }
	all := []api.ApprovalOption{opt("aa", api.OptionAllowAlways), opt("ao", api.OptionAllowOnce), opt("ra", api.OptionRejectAlways), opt("ro", api.OptionRejectOnce)}
	for _, c := range []struct {
		options []api.ApprovalOption
		approve bool
		option  string
		want    string
		field   string
	}{
		{all, true, "", "ao", ""},
		{all, false, "", "ro", ""},
		{all, true, "aa", "aa", ""},
		{all, false, "ra", "ra", ""},
		{all, true, "ro", "", "option"},
		{all, false, "ao", "", "option"},
		{all, true, "x", "", "option"},
		{all[:1], true, "", "aa", ""},
		{all[:1], false, "", "", ""}, // the harness tells the agent that it was cancelled
		{all[2:3], false, "", "ra", ""},
		{all[2:], true, "", "", "approve"},
		{nil, false, "", "", ""},
	} {
		got, err := choose(api.Approval{Options: c.options}, c.approve, c.option)
		if got.ID != c.want || api.FieldOf(err) != c.field {
			t.Errorf("approve %t with %q of %v: %q, %v; want %q, field %q", c.approve, c.option, c.options, got.ID, err, c.want, c.field)
		}
	}
}
