package harness

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// FuzzLines: what an agent prints comes as valid text within the limit, the same however it was cut into reads, and nothing
// of it is lost.
func FuzzLines(f *testing.F) {
	for _, s := range []string{"", "a\nb", "a\r\n\n", "0123456789abcdefgh\ni\n", "0123456789abcd\u00e9\n", "0123456789abcde\r\ni", "\xff\xff\xff\xff\xff\xff\xff\xff\n", "0123456789abcde\xf0\x9f\x98\x80", "\r", "\xe2\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		const limit = 16 // the least that bufio takes
		got := parts(t, in, limit)
		var whole []part
		if err := readLines(strings.NewReader(in), limit, func(text string, continued bool) { whole = append(whole, part{text, continued}) }); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, whole) {
			t.Errorf("%q is %v by bytes and %v at once", in, got, whole)
		}
		var lines []string
		line := ""
		for _, p := range got {
			if len(p.Text) > limit || !utf8.ValidString(p.Text) {
				t.Errorf("%q is among the parts of %q", p.Text, in)
			}
			if line += p.Text; !p.Continued {
				lines, line = append(lines, line), ""
			}
		}
		if !utf8.ValidString(in) || strings.Contains(in, "\r") {
			return // replaced, or a line's end in two ways
		}
		want := strings.Split(in, "\n")
		if want[len(want)-1] == "" {
			want = want[:len(want)-1]
		}
		if line != "" { // a last part without its end
			lines = append(lines, line)
		}
		if !slices.Equal(lines, want) {
			t.Errorf("%q became the lines %q", in, lines)
		}
	})
}

// FuzzDescription: a workload's description is refused, or names all that a harness needs; making one panics for none.
func FuzzDescription(f *testing.F) {
	good, err := protojson.Marshal(&harnessv1.Workload{Id: "w", Session: "s", Socket: "/s", Protocol: "command", Command: []string{"true"}, TurnLimit: durationpb.New(time.Minute),
		State: "/x", Home: "/x/h", Workspace: "/x/w", Files: []*harnessv1.File{{Path: "a", Content: "b", Mode: 0o600}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	for _, s := range []string{"", "{}", "null", `{"turnLimit":"315576000000s"}`, `{"turnLimit":"1s","turnLimit":"2s"}`, `{"newer":[{}]}`, `{"files":[null]}`, strings.Repeat(`{"newer":`, 100)} {
		f.Add([]byte(s))
	}
	path := filepath.Join(f.TempDir(), "workload.json")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		w, err := Load(path)
		if err != nil {
			return
		}
		h, err := New(Config{Workload: w, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			if api.FieldOf(err) == "" {
				t.Errorf("an error without a field: %v", err)
			}
			return
		}
		if h.w.Id == "" || len(h.w.Command) == 0 || h.w.TurnLimit.AsDuration() <= 0 || h.w.Home == "" {
			t.Errorf("taken: %v", w)
		}
		again, err := protojson.Marshal(w)
		if err != nil {
			t.Fatal(err)
		}
		var back harnessv1.Workload
		if err := protojson.Unmarshal(again, &back); err != nil || !proto.Equal(w, &back) {
			t.Errorf("%v became %v, %v", w, &back, err)
		}
	})
}

// FuzzDescribed: a description that a spoke answers is refused, or is of the workload that was asked for and names all that a
// harness in a pod needs; making one panics for none.
func FuzzDescribed(f *testing.F) {
	const id = "01j00000000000000000000000-0-1-1"
	good := &harnessv1.Workload{Id: id, Session: "s", Protocol: "acp", Command: []string{"agent"}, TurnLimit: durationpb.New(time.Minute),
		State: "/nave/state/checkpoints", Home: "/nave/state/home", Workspace: "/nave/state/workspace", Temp: "/tmp", McpServers: []*harnessv1.McpServer{{Name: "a", Url: "http://127.0.0.1:1"}}}
	for _, change := range []func(*harnessv1.Workload){func(*harnessv1.Workload) {}, func(w *harnessv1.Workload) { w.Id = "another" }, func(w *harnessv1.Workload) { w.Home = "home" },
		func(w *harnessv1.Workload) { w.Socket, w.ExitFile = "/s", "/e" }, func(w *harnessv1.Workload) { w.Command = nil }} {
		w := proto.Clone(good).(*harnessv1.Workload)
		change(w)
		b, err := proto.Marshal(w)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	spoke := Spoke{Address: "127.0.0.1:1", Authority: testAuthority(f), TokenFile: "/token"}
	f.Fuzz(func(t *testing.T, b []byte) {
		var w harnessv1.Workload
		if proto.Unmarshal(b, &w) != nil {
			return
		}
		h, err := described(Config{Spoke: spoke, InPod: true, Log: slog.New(slog.DiscardHandler)}, &w, id, "/dev/termination-log")
		if err != nil {
			if api.FieldOf(err) == "" {
				t.Errorf("an error without a field: %v", err)
			}
			return
		}
		if h.w.Id != id || h.exit != (exitFile{"/dev/termination-log", true}) || h.c.Spoke.Socket != "" || len(h.w.Command) == 0 || h.w.TurnLimit.AsDuration() <= 0 {
			t.Errorf("taken: %v, as %+v", &w, h.c)
		}
		for _, dir := range []string{h.w.State, h.w.Home, h.w.Workspace, h.w.Temp} {
			if !filepath.IsAbs(dir) {
				t.Errorf("taken with the directory %q", dir)
			}
		}
	})
}

// FuzzMemory: what the agent made of the file that says which of its sessions to go on with is a memory within its bound, or
// none; never an error, and never a file elsewhere.
func FuzzMemory(f *testing.F) {
	good, err := json.Marshal(memory{Session: "s", Agent: "a", Version: "1", Instructions: hashOf("x"), Answered: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	for _, s := range []string{"", "{}", "null", "[]", `{"session_id":1}`, `{"SESSION_ID":"a","session_id":"b"}`, "\xff", `{"session_id":"\ud800"}`} {
		f.Add([]byte(s))
	}
	home := f.TempDir()
	if err := os.Mkdir(filepath.Join(home, memoryDir), 0o700); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(filepath.Join(home, memoryFile), b, 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := loadMemory(home)
		if err != nil {
			t.Fatal(err)
		}
		if m != (memory{}) && (len(b) > maxMemory || len(m.Session)+len(m.Agent)+len(m.Version) > 3*maxMemory) {
			t.Errorf("%d bytes are taken", len(b))
		}
		if err := m.store(home); err != nil {
			t.Fatal(err)
		}
		if back, err := loadMemory(home); err != nil || len(b) < maxMemory/8 && back != m {
			t.Errorf("%+v became %+v, %v", m, back, err)
		}
	})
}

// FuzzOrders: what a spoke says, with answers to approvals that signals carry, leads to a step about signals of the orders,
// each at most once and none that is consumed; to blocks and a request that are text; and a cancellation never goes down.
func FuzzOrders(f *testing.F) {
	answer, err := json.Marshal(carriedAnswer{Approval: "a", Decision: approved, Title: "t", Fingerprint: "f", By: "b", Reason: "r"})
	if err != nil {
		f.Fatal(err)
	}
	for _, o := range []*harnessv1.Orders{
		{Signals: []*harnessv1.Signal{{Id: "i", Sequence: 1, Payload: []byte("p"), Sender: "x"}, {Id: "j", Sequence: 2, Payload: answer, Approval: "a"}}, CancelUpTo: 1, CancelReason: "r"},
		{Signals: []*harnessv1.Signal{{Sequence: 3, Payload: []byte{0xff}}, {Sequence: 3}, {Sequence: 1}}},
		{Stop: true},
		{},
	} {
		b, err := proto.Marshal(o)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint64(1), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, before uint64, single bool) {
		var o harnessv1.Orders
		if proto.Unmarshal(b, &o) != nil {
			return
		}
		in := newInbox()
		in.order(&harnessv1.Orders{CancelUpTo: before})
		in.order(&o)
		now := in.look()
		if now.CancelUpTo < before {
			t.Errorf("cancelled up to %d, and then to %d", before, now.CancelUpTo)
		}
		s := next(facts{restored: true, prepared: true, calm: true, signals: now.Signals, single: single, cancelled: now.CancelUpTo, reason: now.CancelReason})
		if single && s.kind == stepRun && len(s.signals) > 1 {
			t.Errorf("%d signals at a time", len(s.signals))
		}
		for _, sig := range s.signals {
			if !slices.Contains(now.Signals, sig) || (sig.Sequence <= now.CancelUpTo) != (s.kind == stepDrop) {
				t.Errorf("%s of %v, cancelled up to %d", s.kind, sig, now.CancelUpTo)
			}
		}
		if len(s.signals) == 0 {
			return
		}
		a := newApprovals("s", time.Minute, s.signals)
		for _, c := range a.carried {
			if _, got := a.ask(0, c.fingerprint, []api.ApprovalOption{{ID: "y", Kind: api.OptionAllowOnce}, {ID: "n", Kind: api.OptionRejectOnce}}); got == nil || got.option.Kind.Allows() != got.allow {
				t.Errorf("%+v answers %+v", c, got)
			}
		}
		req, err := request(&harnessv1.Workload{}, s.signals)
		var back Request
		if err != nil || json.Unmarshal(req, &back) != nil || len(back.Signals) != len(s.signals) {
			t.Fatalf("the request is %q, %v", req, err)
		}
		if max := 6*proto.Size(&o) + 300*(len(s.signals)+1); len(req) > max {
			t.Errorf("a request of %d bytes from orders of %d", len(req), proto.Size(&o))
		}
		for _, sig := range s.signals {
			if text := payloadText(sig); !utf8.ValidString(text) {
				t.Errorf("the agent is told %q", text)
			}
		}
	})
}

// FuzzSpokeSays: acknowledgements and leases of a spoke are refused, or never give more than was asked for.
func FuzzSpokeSays(f *testing.F) {
	for _, m := range []*harnessv1.ToHarness{
		{Message: &harnessv1.ToHarness_Ack{Ack: &harnessv1.Ack{UpTo: 2}}},
		{Message: &harnessv1.ToHarness_Ack{Ack: &harnessv1.Ack{UpTo: 1<<64 - 1}}},
		{Message: &harnessv1.ToHarness_Lease{Lease: &harnessv1.Lease{Number: 1, Duration: durationpb.New(time.Minute)}}},
		{Message: &harnessv1.ToHarness_Lease{Lease: &harnessv1.Lease{Number: 1, Duration: &durationpb.Duration{Seconds: 1<<63 - 1}}}},
		{Message: &harnessv1.ToHarness_Lease{Lease: &harnessv1.Lease{Number: 1, Duration: &durationpb.Duration{Seconds: -1 << 63, Nanos: -1 << 31}}}},
		{Message: &harnessv1.ToHarness_Lease{Lease: &harnessv1.Lease{Number: 2, Unbounded: true}}},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m harnessv1.ToHarness
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		o := newOutbox(8, 1<<10)
		for range 3 {
			o.put(t.Context(), &harnessv1.Event{Type: "log"})
		}
		if a := m.GetAck(); a != nil {
			if taken, held := o.ack(a.UpTo), o.first(); taken != (a.UpTo <= 3) || taken && held != a.UpTo+1 || !taken && held != 1 {
				t.Errorf("acknowledged up to %d: %v, the first one left is %d", a.UpTo, taken, held)
			}
		}
		if a := m.GetLease(); a != nil {
			now := time.Hour
			l := newLease(func() time.Duration { return now }, time.Minute, func() {})
			asked := l.ask()
			l.answer(a.Number, a.Duration.AsDuration(), a.Unbounded)
			r := l.look()
			if r.held && (a.Number != asked || !a.Unbounded && a.Duration.AsDuration() <= 0) {
				t.Errorf("lease %v is held after request %d", a, asked)
			}
			if pause := l.pause(); pause <= 0 {
				t.Errorf("the next request comes after %v", pause)
			}
		}
	})
}
