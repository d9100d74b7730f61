package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api/navev1"
)

func delta(kind, stream string, offset int, text string) *navev1.Event {
	return &navev1.Event{SessionId: "01SESSION", Source: "0.1/1", Type: kind, Delta: &navev1.Delta{Stream: stream, Offset: uint64(offset), Text: text}}
}

func event(number int, kind, stream, text string) *navev1.Event {
	e := &navev1.Event{SessionId: "01SESSION", Source: "0.1/1", Number: uint64(number), Type: kind, Text: text}
	if stream != "" {
		e.Attributes = map[string]string{"stream": stream}
	}
	return e
}

func TestTextsAppearWhileTheyAreWritten(t *testing.T) {
	const head, thought = "     ~  -  message             ", "     ~  -  thought             "
	for _, tc := range []struct {
		name   string
		events []*navev1.Event
		want   string
	}{
		{"piece by piece", []*navev1.Event{delta("message", "m1", 0, "roses "), delta("message", "m1", 6, "are\nred\n"), event(1, "message", "m1", "roses are\nred\n")},
			head + "roses are\n        red\n          [1]\n"},
		{"the event has more", []*navev1.Event{delta("message", "m1", 0, "roses "), event(1, "message", "m1", "roses are red")},
			head + "roses are red  [1]\n"},
		{"a gap", []*navev1.Event{delta("message", "m1", 0, "roses "), delta("message", "m1", 10, "red"), event(1, "message", "m1", "roses are red")},
			head + "roses are red  [1]\n"},
		{"the beginning was missed", []*navev1.Event{delta("message", "m1", 6, "are"), event(1, "message", "m1", "roses are red")},
			"     1  -  message             roses are red\n"},
		{"twice", []*navev1.Event{delta("message", "m1", 0, "roses "), delta("message", "m1", 0, "roses "), delta("message", "m1", 3, "es are"), event(1, "message", "m1", "roses are")},
			head + "roses are  [1]\n"},
		{"another text in the end", []*navev1.Event{delta("message", "m1", 0, "roses"), event(1, "message", "m1", "violets are blue")},
			head + "roses\n     1  -  message             violets are blue\n"},
		{"shorter in the end", []*navev1.Event{delta("message", "m1", 0, "roses"), event(1, "message", "m1", "ros")},
			head + "roses\n     1  -  message             ros\n"},
		{"an event between", []*navev1.Event{delta("message", "m1", 0, "ros"), event(1, "log", "", "x"), delta("message", "m1", 3, "es"), event(2, "message", "m1", "roses!")},
			head + "ros\n     1  -  log                 x\n" + head + "... es!  [2]\n"},
		{"two streams", []*navev1.Event{delta("message", "m1", 0, "ros"), delta("thought", "t1", 0, "hm"), event(1, "message", "m1", "roses"), event(2, "thought", "t1", "hm")},
			head + "ros\n" + thought + "hm\n     1  -  message             ... es  [1]\n"},
		{"hostile", []*navev1.Event{delta("message", "m1", 0, "\x1b]0;own"), delta("message", "m1", 7, "ed\x07\u202e"), event(1, "message", "m1", "\x1b]0;owned\x07\u202e")},
			head + `\x1b]0;owned\x07\u202e` + "  [1]\n"},
		{"half a character", []*navev1.Event{delta("message", "m1", 0, "a"), event(1, "message", "m1", "aé")},
			head + "aé  [1]\n"},
		{"of another attempt", []*navev1.Event{delta("message", "m1", 0, "roses"), {SessionId: "01SESSION", Source: "0.1/2", Number: 1, Type: "message", Text: "roses", Attributes: map[string]string{"stream": "m1"}}},
			head + "roses\n     1  -  message             roses\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t)
			b.terminal, b.plain = true, true
			b.hub.events = tc.events
			last := tc.events[len(tc.events)-1].GetNumber()
			out, errOut, code := b.nave("events", "01SESSION", "--follow", "--limit", fmt.Sprint(last))
			if code != exitOK || errOut != "" || out != tc.want {
				t.Errorf("exit %d, %q\n got %q\nwant %q", code, errOut, out, tc.want)
			}
		})
	}
}

// TestDeltasAreAskedForOnATerminalAlone, or by their flag.
func TestDeltasAreAskedForOnATerminalAlone(t *testing.T) {
	for _, tc := range []struct {
		args     string
		terminal bool
		want     bool
	}{
		{"events 01SESSION --follow --limit 1", true, true},
		{"events 01SESSION --follow --limit 1 --deltas=false", true, false},
		{"events 01SESSION --limit 1", true, false},
		{"events 01SESSION --follow --limit 1", false, false},
		{"events 01SESSION --follow --limit 1 -o json", true, false},
		{"events 01SESSION --follow --limit 1 -o json --deltas", false, true},
		{"signal writer ann -m x --wait", true, true},
		{"signal writer ann -m x --wait", false, false},
		{"signal writer ann -m x --wait -o json", true, false},
	} {
		b := newBench(t)
		b.terminal = tc.terminal
		b.hub.events = []*navev1.Event{{SessionId: "01SESSION", Number: 1, Type: "turn.ended", Signals: []uint64{1}, Outcome: "done"}}
		_, errOut, code := b.nave(strings.Fields(tc.args)...)
		b.hub.mu.Lock()
		got := b.hub.deltas
		b.hub.mu.Unlock()
		if code != exitOK || got != tc.want {
			t.Errorf("%s (terminal: %v): exit %d %q, deltas %v", tc.args, tc.terminal, code, errOut, got)
		}
	}
}

func TestWaitingShowsWhatIsWritten(t *testing.T) {
	b := newBench(t)
	b.terminal = true
	asked := event(7, "approval.requested", "", "")
	asked.Attributes = map[string]string{"approval": "01SESSION-abcd2345", "title": "Run\x1b[2J"}
	started, ended := event(4, "turn.started", "", ""), event(9, "turn.ended", "", "")
	started.Signals, ended.Signals, ended.Outcome = []uint64{1}, []uint64{1}, "done"
	other := event(1, "turn.started", "", "")
	other.Signals = []uint64{9}
	accepted := event(2, "signal.accepted", "", "")
	accepted.Signals = []uint64{1}
	b.hub.events = []*navev1.Event{other, accepted, delta("message", "m0", 0, "of another"), event(3, "turn.ended", "", ""), started,
		delta("thought", "t1", 0, "hm"), delta("message", "m1", 0, "roses "), delta("message", "m1", 6, "are"), event(5, "message", "m1", "roses are red\n"),
		delta("message", "m2", 0, "vio"), event(6, "log", "", "x"), asked, event(8, "message", "m2", "violets"), ended}
	out, errOut, code := b.nave("signal", "writer", "ann", "-m", "x", "--wait")
	if want := "roses are red\nvio\n... lets\n"; code != exitOK || out != want {
		t.Errorf("exit %d: got %q, want %q (%s)", code, out, want, errOut)
	}
	if !strings.Contains(errOut, `the agent asks: Run\x1b[2J; answer it by nave approve abcd2345, or nave deny abcd2345`) {
		t.Errorf("nobody was told that the agent asks: %q", errOut)
	}
}

// TestDeltasShowEachByteOnce: whatever arrives of the pieces of a text, in whatever parts, the screen has the text once.
func TestDeltasShowEachByteOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := texts().Draw(t, "text")
		var out bytes.Buffer
		a := &app{out: &sink{w: &out}, terminal: true}
		l := newLive(a, nil)
		for range rapid.IntRange(0, 12).Draw(t, "pieces") {
			from := rapid.IntRange(0, len(text)).Draw(t, "from")
			to := rapid.IntRange(from, len(text)).Draw(t, "to")
			if err := l.delta(delta("message", "m", from, text[from:to])); err != nil {
				t.Fatal(err)
			}
		}
		e := event(1, "message", "m", text)
		done, err := l.event(e)
		if err != nil {
			t.Fatal(err)
		}
		if !done {
			fmt.Fprintln(&out, strings.TrimRight(a.text(text), "\n"))
		}
		want := strings.TrimRight(clean(text, true), "\n")
		if got := strings.TrimRight(out.String(), "\n"); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
		if len(l.streams) != 0 || l.open != "" {
			t.Fatalf("left behind: %v %q", l.streams, l.open)
		}
	})
}

func TestWholeRunes(t *testing.T) {
	for _, s := range []string{"", "a", "é", "€", "\U0001f600", "aé€\U0001f600"} {
		for n := range len(s) + 1 {
			whole := wholeRunes(s[:n])
			if !utf8.ValidString(s[:whole]) || n-whole >= utf8.UTFMax {
				t.Errorf("%q: %d of %d", s, whole, n)
			}
		}
	}
	if n := wholeRunes("a\xff\x80\x80\x80"); n != 5 {
		t.Errorf("what is no character was held back: %d", n)
	}
}

// TestStreamsAreBounded: a workload that opens streams without end costs no memory without end.
func TestStreamsAreBounded(t *testing.T) {
	var out bytes.Buffer
	l := newLive(&app{out: &sink{w: &out}}, nil)
	for i := range 10 * maxStreams {
		if err := l.delta(delta("message", fmt.Sprint(i), 0, "x")); err != nil {
			t.Fatal(err)
		}
	}
	if len(l.streams) > maxStreams {
		t.Errorf("%d streams", len(l.streams))
	}
	if done, err := l.event(event(1, "message", "3", "x")); !done || err != nil {
		t.Errorf("%v %v", done, err)
	}
	if len(l.streams) != maxStreams-1 {
		t.Errorf("%d streams after one ended", len(l.streams))
	}
}
