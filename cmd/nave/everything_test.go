package main

import (
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
)

var rewriteShapes = flag.Bool("rewrite-shapes", false, "write the shapes of -o json as they are now")

func encodeBin(raw []byte) string { return base64.RawStdEncoding.EncodeToString(raw) }

const anID = "01SESSION-abcd2345"

// invocations are every command with arguments under which it prints all that it can print. A command without -o json has no
// "json" among its formats.
var invocations = []struct {
	path    string // of the command, without "nave"
	args    string
	formats string
}{
	{"apply", "-f @doc.yaml", "text json name"},
	{"get", "environment local", "table json yaml name"},
	{"get", "environments", "table json yaml name"},
	{"get", "agents", "table json yaml name"},
	{"get", "policies", "table json yaml name"},
	{"get", "grants", "table json yaml name"},
	{"delete", "agent local", "text json"},
	{"diff", "agent local --from 6 --to 7", "text"},
	{"diff", "-f @doc.yaml", "text"},
	{"history", "agent local", "table json"},
	{"rollback", "agent local --to 7", "text json"},
	{"export", "agents", "yaml"},
	{"export", "policies", "yaml"},
	{"signal", "writer ann -m x", "text json"},
	{"signal", "writer ann -m x --dry-run", "text json"},
	{"signal", "writer ann -m x --wait", "text json"},
	{"signal", "--file @signals.jsonl", "text json"},
	{"sessions", "", "table json name"},
	{"sessions get", "01SESSION", "text json"},
	{"events", "01SESSION --limit 40", "text json"},
	{"events", "01SESSION --limit 40 --full", "text"},
	{"events", "01SESSION --follow --limit 3 --deltas", "text json"},
	{"events", "01SESSION --side", "text json"},
	{"explain", "01SESSION --all --now", "table json"},
	{"explain", "01SESSION --why-not $TEXT", "table json"},
	{"wait", "01SESSION --for approval", "text json"},
	{"wait", "cluster east --for live", "text json"},
	{"approvals", "--all", "table json name"},
	{"approvals show", anID, "text json"},
	{"approve", anID, "text json"},
	{"deny", anID, "text json"},
	{"cancel", "01SESSION", "text json"},
	{"cancel", "01SESSION --all --dry-run", "text json"},
	{"pause", "01SESSION", "text json"},
	{"resume", "01SESSION", "text json"},
	{"terminate", "01SESSION", "text json"},
	{"signals", "--dead", "table json name"},
	{"signals show", "01SIGNAL", "text json"},
	{"replay", "01SIGNAL", "text json"},
	{"status", "", "text json"},
	{"clusters", "", "table json name"},
	{"clusters list", "", "table json name"},
	{"clusters get", "east", "table json"},
	{"clusters register", "east", "text json"},
	{"clusters cordon", "east", "text json"},
	{"clusters uncordon", "east", "text json"},
	{"clusters rejoin", "east", "text json"},
	{"clusters delete", "east", "text json"},
	{"context", "", "table json name"},
	{"context list", "", "table json name"},
	{"context show", "", "text json"},
	{"context use", "test", ""},
	{"context add", "other --address https://hub:1", ""},
	{"context set", "other --address https://hub:1", ""},
	{"context rename", "other another", ""},
	{"context delete", "another", ""},
	{"version", "--hub", "text json"},
	{"exit-codes", "", ""},
}

// steadyState lets the echo answer what the commands need to go through, once the fields are filled.
func steadyState(text string) func(string, protoreflect.Message) {
	set := func(m protoreflect.Message, field, value string) {
		if f := m.Descriptor().Fields().ByName(protoName(field)); f != nil {
			m.Set(f, protoreflect.ValueOfString(value))
		}
	}
	return func(_ string, m protoreflect.Message) {
		switch m.Descriptor().Name() {
		case "Approval":
			set(m, "id", anID+text)
		case "SignalManyResponse": // one of the two is accepted
			first := m.Get(m.Descriptor().Fields().ByName("results")).List().Get(0).Message()
			first.Clear(first.Descriptor().Fields().ByName("error"))
		case "Cluster":
			set(m.Mutable(m.Descriptor().Fields().ByName("status")).Message(), "health", string(api.HealthLive))
		}
	}
}

// logEnd is the number of the last event of an echo's log.
const logEnd = 60

// eventsOf makes the answer of Events: every type that there is, twice, and deltas.
func eventsOf(text string, from uint64) (out []*navev1.Event) {
	kinds := append(eventTypes(), text)
	for n := from; n <= logEnd; n++ {
		kind := kinds[(n-1)%uint64(len(kinds))]
		e := &navev1.Event{SessionId: text, Number: n, Source: text, Type: kind, Cluster: text, Text: text + "\n" + strings.Repeat(text+"\n", 20), Outcome: text,
			Attributes: map[string]string{text: text}, Signals: []uint64{7}}
		for _, k := range []string{api.AttrApproval, api.AttrTitle, api.AttrOptions, api.AttrHold, api.AttrDecision, api.AttrOption, api.AttrStopReason,
			api.AttrUpTo, api.AttrTool, api.AttrToolKind, api.AttrStatus, api.AttrBy, api.AttrStream} {
			e.Attributes[k] = text
		}
		out = append(out, &navev1.Event{Source: text, Type: kind, SessionId: text, Delta: &navev1.Delta{Stream: text, Text: text}}, e)
	}
	return out
}

func eventTypes() []string {
	var out []string
	for _, k := range []api.EventType{api.EventAccepted, api.EventPlaced, api.EventWaiting, api.EventDead, api.EventSlept, api.EventLost, api.EventPaused,
		api.EventResumed, api.EventEnd, api.EventStarted, api.EventEnded, api.EventTurnDone, api.EventTurn, api.EventMessage, api.EventTool, api.EventLog,
		api.EventSaved, api.EventState, api.EventThought, api.EventResult, api.EventPlan, api.EventUsage, api.EventNote, api.EventAsked, api.EventTaken,
		api.EventAnswered, api.EventExpired, api.EventWithdrawn, api.EventCancelled} {
		out = append(out, string(k))
	}
	return out
}

// commandPaths are all commands that do something.
func commandPaths(cmd *cobra.Command, into map[string]bool) {
	if path := strings.TrimPrefix(cmd.CommandPath(), "nave "); cmd.Runnable() || path == "exit-codes" {
		into[path] = true
	}
	for _, sub := range cmd.Commands() {
		commandPaths(sub, into)
	}
}

func TestEveryCommandIsInvoked(t *testing.T) {
	want, got := map[string]bool{}, map[string]bool{}
	commandPaths((&app{}).root(), want)
	for _, i := range invocations {
		got[i.path] = true
	}
	if d := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); d != "" {
		t.Errorf("commands and invocations differ: a new command has to be put to the attack, and its JSON kept stable\n%s", d)
	}
}

// document that apply and diff are given.
const someDocument = "apiVersion: nave.dev/v1\nkind: Environment\nmetadata: {name: local}\nspec: {}\n"

// everything runs every command in every format against an echo and hands over what was printed.
func everything(t *testing.T, h *echo, word string, see func(t *testing.T, name, format, out, errOut string, code int)) {
	b := newEchoBench(t, h)
	if err := os.WriteFile(filepath.Join(b.dir, "doc.yaml"), []byte(someDocument), 0o600); err != nil {
		t.Fatal(err)
	}
	// The echo answers two signals: the third line is refused here.
	lines := strings.Repeat(`{"agent": "writer", "key": "ann", "text": "x"}`+"\n", 2) + fmt.Sprintf("{%s: 1}\n", jsonText(word))
	if err := os.WriteFile(filepath.Join(b.dir, "signals.jsonl"), []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, i := range invocations {
		for _, format := range append(strings.Fields(i.formats), "") {
			if format == "" && i.formats != "" {
				continue
			}
			args := strings.Fields(i.path)
			for _, w := range strings.Fields(i.args) {
				w = strings.ReplaceAll(w, "$TEXT", word)
				if strings.HasPrefix(w, "@") {
					w = filepath.Join(b.dir, w[1:])
				}
				args = append(args, w)
			}
			if format != "" {
				args = append(args, "-o", format)
			}
			if i.path == "exit-codes" {
				args = []string{"help", "exit-codes"}
			}
			out, errOut, code := b.nave(append(args, "--timeout", "2s")...)
			see(t, strings.TrimSpace(i.path+" "+i.args), format, out, errOut, code)
		}
	}
}

// TestJSONIsStable: what programs read keeps its fields and their types. New fields are no change; the files list what was
// promised before.
func TestJSONIsStable(t *testing.T) {
	h := &echo{text: func(protoreflect.FieldDescriptor) string { return "text" }, answer: steadyState("")}
	h.events = func(from uint64) []*navev1.Event { return eventsOf("text", from) }
	now := map[string][]string{}
	everything(t, h, "text", func(t *testing.T, name, format, out, errOut string, code int) {
		if format != formatJSON {
			return
		}
		shape := map[string]bool{}
		dec := json.NewDecoder(strings.NewReader(out))
		documents := 0
		for dec.More() {
			var v any
			if err := dec.Decode(&v); err != nil {
				t.Errorf("%s: %v of %q", name, err, out)
				return
			}
			shapeOf(v, "", shape)
			documents++
		}
		if documents == 0 {
			t.Errorf("%s printed no JSON: exit %d, %q %q", name, code, out, errOut)
		}
		now[name] = slices.Sorted(maps.Keys(shape))
	})
	path := "testdata/shapes.json"
	if *rewriteShapes {
		raw, err := json.MarshalIndent(now, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(raw, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	promised := map[string][]string{}
	if err := json.Unmarshal(raw, &promised); err != nil {
		t.Fatal(err)
	}
	for name, fields := range promised {
		for _, f := range fields {
			if !slices.Contains(now[name], f) {
				t.Errorf("nave %s: %s is not there any more", name, f)
			}
		}
	}
	for name := range now {
		if promised[name] == nil {
			t.Errorf("nave %s: its shape is not kept: run this test with -rewrite-shapes", name)
		}
	}
}

// shapeOf notes the path and the type of everything in a document.
func shapeOf(v any, path string, into map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if path == ".attributes" || path == ".labels" {
				k = "*"
			}
			shapeOf(x, path+"."+k, into)
		}
	case []any:
		for _, x := range v {
			shapeOf(x, path+"[]", into)
		}
	default:
		into[fmt.Sprintf("%s %T", path, v)] = true
	}
}

// hostile is what an agent could try: every control character of both sets, sequences that set the clipboard, the title and
// colours, and marks that turn or hide text.
func hostile() string {
	var b strings.Builder
	for r := rune(0); r < 0x20; r++ {
		b.WriteRune(r)
	}
	for r := rune(0x7f); r < 0xa0; r++ {
		b.WriteRune(r)
	}
	for _, r := range []rune{0x61c, 0x200e, 0x200f, 0x2028, 0x2029, 0x202a, 0x202b, 0x202c, 0x202d, 0x202e, 0x2060, 0x2066, 0x2067, 0x2068, 0x2069, 0xfeff, 0xfffe, 0xe0001, 0xe007f} {
		b.WriteRune(r)
	}
	b.WriteString("\x1b]52;c;ZXZpbA==\x07\x1b]0;title\x1b\\\x1b[2J\x1b[31m\x1b[?1049h\x1bP+q\x1b\\\u009b2J\u009d52;c;eA==\u009c\x1bc\x1b(0")
	return b.String()
}

// TestNothingHostileReachesATerminal puts the hostile text into every field of every answer, and runs every command.
func TestNothingHostileReachesATerminal(t *testing.T) {
	evil := hostile()
	fields := map[string]bool{}
	attack := func(h *echo) {
		count := 0
		everything(t, h, evil, func(t *testing.T, name, format, out, errOut string, code int) {
			count++
			for stream, s := range map[string]string{"standard output": out, "standard error": errOut} {
				if i := strings.IndexFunc(s, func(r rune) bool { return r != '\n' && r != '\t' && steers(r) }); i >= 0 {
					t.Errorf("nave %s -o %s: %q on %s, exit %d", name, format, s[max(0, i-40):min(len(s), i+40)], stream, code)
				}
			}
			if out == "" && errOut == "" {
				t.Errorf("nave %s -o %s printed nothing: it was not put to the attack", name, format)
			}
		})
		if count < 90 {
			t.Errorf("only %d invocations", count)
		}
	}
	attack(&echo{answer: steadyState(evil), events: func(from uint64) []*navev1.Event { return eventsOf(evil, from) },
		text: func(f protoreflect.FieldDescriptor) string { fields[string(f.FullName())] = true; return evil }})
	attack(&echo{fail: evil})
	if len(fields) < 150 {
		t.Errorf("only %d fields held the text", len(fields))
	}
}

// TestNothingHostileReachesAWatchedTerminal: a watch writes sequences of its own, and no others.
func TestNothingHostileReachesAWatchedTerminal(t *testing.T) {
	evil := hostile()
	own := strings.NewReplacer(wrapOff, "", clearScreen, "", home, "", clearLine, "", clearBelow, "", wrapOn, "")
	b := newEchoBench(t, &echo{answer: steadyState(evil), text: func(protoreflect.FieldDescriptor) string { return evil }})
	for _, terminal := range []bool{true, false} {
		b.terminal = terminal
		for _, args := range []string{"sessions", "clusters", "approvals --all", "status"} {
			var out, errOut string
			var code int
			for limit := 100 * time.Millisecond; len(out) < 100 && limit < 20*time.Second; limit *= 2 { // a busy machine has not asked the hub by then
				out, errOut, code = b.until("", append(strings.Fields(args), "--watch", "--timeout", limit.String())...)
			}
			if !terminal {
				own = strings.NewReplacer()
			}
			if code != exitOK || len(out) < 100 || strings.ContainsFunc(own.Replace(out)+errOut, func(r rune) bool { return r != '\n' && steers(r) }) {
				t.Errorf("%s (terminal: %v): exit %d, %q %q", args, terminal, code, out, errOut)
			}
		}
	}
}

// TestColoursAreOnATerminalAlone, and not where NO_COLOR is set: nothing of what is coloured comes from elsewhere.
func TestColoursAreOnATerminalAlone(t *testing.T) {
	for _, tc := range []struct{ terminal, plain, want bool }{{true, false, true}, {true, true, false}, {false, false, false}} {
		b := newBench(t)
		b.terminal, b.plain = tc.terminal, tc.plain
		b.hub.sessions = []*navev1.Session{session("01A", "Running")}
		b.hub.events = eventsOf("text", 1)
		for _, args := range []string{"sessions", "events 01A --limit 50"} {
			out, _, _ := b.nave(strings.Fields(args)...)
			if got := strings.Contains(out, "\x1b["); got != tc.want {
				t.Errorf("%s: colours are %v, want %v", args, got, tc.want)
			}
		}
	}
}
