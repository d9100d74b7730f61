package harness

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// TestApprovalsCore plays transcripts of one turn. The argument hold is how long a request is held; the others are what
// signals of the turn carry: id=fingerprint/decision/option.
//
//	at TIME       the clock
//	ask FP        a request; it gets a name a, b, ... by its id
//	answer ID D O the orders have the decision allow or reject, with an option, for the request; they keep it
//	back ID       the agent takes it back
//
// Each line says what came of it, then what is open, for how long the first is held, whether it is over, and the time that
// does not count.
func TestApprovalsCore(t *testing.T) {
	options := []api.ApprovalOption{{ID: "always", Kind: api.OptionAllowAlways}, {ID: "yes", Kind: api.OptionAllowOnce}, {ID: "no", Kind: api.OptionRejectOnce}}
	datadriven.RunTest(t, "testdata/approvals.txt", func(t *testing.T, d *datadriven.TestData) string {
		var (
			hold    time.Duration
			now     time.Duration
			signals = []*harnessv1.Signal{{Sequence: 5}}
			names   = make(map[api.ApprovalID]string)
			ids     = make(map[string]api.ApprovalID)
			answers []*harnessv1.ApprovalAnswer
			out     strings.Builder
		)
		for _, arg := range d.CmdArgs {
			if arg.Key == "hold" {
				hold = parse(t, arg.Vals[0])
				continue
			}
			p := strings.Split(arg.Vals[0], "/")
			names[api.ApprovalID(arg.Key)] = arg.Key
			signals = append(signals, &harnessv1.Signal{Sequence: 6, Approval: arg.Key, Payload: fmt.Appendf(nil, `{"decision":%q,"fingerprint":%q,"option":{"id":%q}}`, p[1], p[0], p[2])})
		}
		a := newApprovals("01J00000000000000000000000", hold, signals)
		for _, line := range strings.Split(d.Input, "\n") {
			w := strings.Fields(line)
			said := ""
			switch w[0] {
			case "at":
				now = parse(t, w[1])
			case "ask":
				id, got := a.ask(now, w[1], options)
				if names[id] == "" {
					names[id] = string(rune('a' + len(ids)))
					ids[names[id]] = id
				}
				said = names[id]
				if got != nil {
					said += " is answered " + decision(got.allow) + " " + got.option.ID
				}
			case "answer":
				answers = append(answers, &harnessv1.ApprovalAnswer{Approval: string(ids[w[1]]), Allow: w[2] == "allow", Option: w[3]})
			case "back":
				a.close(now, ids[w[1]])
			default:
				t.Fatalf("%s: no such line: %s", d.Pos, line)
			}
			for _, got := range a.settle(now, answers) {
				said += fmt.Sprintf(" %s is answered %s %s", names[got.id], decision(got.allow), got.option.ID)
			}
			fmt.Fprintf(&out, "%-22s %-28s open", line, strings.TrimSpace(said))
			for _, r := range a.open {
				out.WriteString(" " + names[r.id])
			}
			if left, held := a.left(now); held {
				fmt.Fprintf(&out, " for %v", left)
			}
			if id, over := a.over(now); over {
				fmt.Fprintf(&out, ", %s is over", names[id])
			}
			fmt.Fprintf(&out, ", idle %v\n", a.idle(now))
		}
		return out.String()
	})
}

func parse(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Whatever happens: an id is never given twice in a turn, each open request gets one answer at most, the time that does not
// count never exceeds the time that passed, and a turn that is run again gives the same ids.
func TestApprovalsNeverDouble(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := newApprovals("01J00000000000000000000000", time.Hour, []*harnessv1.Signal{{Sequence: 1}})
		again := newApprovals("01J00000000000000000000000", time.Minute, []*harnessv1.Signal{{Sequence: 1}})
		var now time.Duration
		open, seen := make(map[api.ApprovalID]bool), make(map[api.ApprovalID]bool)
		var answers []*harnessv1.ApprovalAnswer
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			now += time.Duration(rapid.IntRange(0, 1000).Draw(t, "passes")) * time.Millisecond
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				fp := rapid.SampledFrom([]string{"x", "y"}).Draw(t, "fingerprint")
				id, _ := a.ask(now, fp, nil)
				if same, _ := again.ask(0, fp, nil); same != id {
					t.Fatalf("the turn asks again under %s, not %s", same, id)
				}
				if seen[id] {
					t.Fatalf("%s is given twice", id)
				}
				open[id], seen[id] = true, true
			case 1:
				for id := range seen {
					answers = append(answers, &harnessv1.ApprovalAnswer{Approval: string(id)})
					break
				}
			case 2:
				for _, got := range a.settle(now, answers) {
					if !open[got.id] {
						t.Fatalf("%s is answered and not open", got.id)
					}
					delete(open, got.id)
				}
			}
			if a.idle(now) > now {
				t.Fatalf("%v do not count of %v", a.idle(now), now)
			}
			if _, held := a.left(now); held != (len(open) > 0) {
				t.Fatalf("held: %v, with %d open", held, len(open))
			}
		}
	})
}

func TestChoose(t *testing.T) {
	option := func(id string, kind api.OptionKind) api.ApprovalOption { return api.ApprovalOption{ID: id, Kind: kind} }
	all := []api.ApprovalOption{option("aa", api.OptionAllowAlways), option("ra", api.OptionRejectAlways), option("a", api.OptionAllowOnce), option("r", api.OptionRejectOnce)}
	for _, tt := range []struct {
		options []api.ApprovalOption
		id      string
		allow   bool
		want    string
	}{
		{all, "aa", true, "aa"},
		{all, "gone", true, "a"},
		{all, "", false, "r"},
		{all, "aa", false, "r"}, // it would mean the contrary
		{all, "r", true, "a"},
		{all[:2], "", true, "aa"},
		{all[:2], "gone", false, "ra"},
		{all[:1], "", false, ""},
		{nil, "a", true, ""},
	} {
		got, offered := choose(tt.options, tt.id, tt.allow)
		if got.ID != tt.want || offered != (tt.want != "") {
			t.Errorf("choose(%d options, %q, %v) = %q, %v, want %q", len(tt.options), tt.id, tt.allow, got.ID, offered, tt.want)
		}
	}
}
