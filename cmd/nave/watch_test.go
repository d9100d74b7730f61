package main

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
)

// stopper is an output that interrupts the program as soon as it holds a text.
type stopper struct {
	mu     sync.Mutex
	text   bytes.Buffer
	until  string
	cancel context.CancelFunc
}

func (s *stopper) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(p)
	if s.until != "" && strings.Contains(s.text.String(), s.until) {
		s.cancel()
	}
	return len(p), nil
}

// until runs the program until it has printed a text, or ended by itself.
func (b *bench) until(text string, args ...string) (out, errOut string, code int) {
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	s := &stopper{until: text, cancel: cancel}
	var e bytes.Buffer
	a := b.app(s, &e)
	code = a.run(ctx, args)
	if text != "" && !strings.Contains(s.text.String(), text) {
		b.t.Errorf("%q was not printed within 20s: %q %q", text, s.text.String(), e.String())
	}
	return s.text.String(), e.String(), code
}

func session(id, phase string) *navev1.Session {
	return &navev1.Session{Id: id, Agent: "writer", Key: "ann", Intent: "Active", Phase: phase}
}

// changes makes a hub whose sessions are another set after each call of a method.
func (h *testHub) changes(method string, sets ...[]*navev1.Session) {
	h.sessions = sets[0]
	for _, set := range sets[1:] {
		h.then[method] = append(h.then[method], func() { h.sessions = set })
	}
}

var changing = [][]*navev1.Session{
	{session("01A", "Dormant"), session("01B", "Running")},
	{session("01A", "Dormant"), session("01B", "Running")},
	{session("01A", "Placing"), session("01B", "Running")},
	{session("01B", "Running"), session("01C", "Placing\x1b[2J")},
	{session("01B", "Stopping"), session("01C", "Placing")},
}

func TestWatchAppendsWhatChanged(t *testing.T) {
	for _, tc := range []struct{ format, until, want string }{
		{"table", "Stopping", `ID   AGENT   KEY  INTENT  PHASE    CLUSTER  EPOCH  PENDING  AGE  REASON
01A  writer  ann  Active  Dormant  -        -      0        -    -
01B  writer  ann  Active  Running  -        -      0        -    -
01A  writer  ann  Active  Placing  -        -      0        -    -
01C  writer  ann  Active  Placing\x1b[2J  -        -      0        -    -
01A  gone    -    -       -               -        -      -        -    -
01B  writer  ann  Active  Stopping        -        -      0        -    -
01C  writer  ann  Active  Placing         -        -      0        -    -
`},
		{"name", "01C\n01B\n01C\n", "01A\n01B\n01A\n01C\n01B\n01C\n"},
		{"json", "Stopping", `{"id":"01A","agent":"writer","key":"ann","intent":"Active","phase":"Dormant"}
{"id":"01B","agent":"writer","key":"ann","intent":"Active","phase":"Running"}
{"id":"01A","agent":"writer","key":"ann","intent":"Active","phase":"Placing"}
{"id":"01C","agent":"writer","key":"ann","intent":"Active","phase":"Placing\u001b[2J"}
{"gone":"01A"}
{"id":"01B","agent":"writer","key":"ann","intent":"Active","phase":"Stopping"}
`},
	} {
		t.Run(tc.format, func(t *testing.T) {
			b := newBench(t)
			b.hub.changes("List", changing...)
			out, errOut, code := b.until(tc.until, "sessions", "-w", "-o", tc.format)
			if tc.format == "json" { // what comes with the last change may be behind the interruption
				out = out[:min(len(out), len(tc.want))]
			}
			if code != exitOK || errOut != "" {
				t.Errorf("exit %d, %q", code, errOut)
			}
			if d := cmp.Diff(tc.want, out); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestWatchRedrawsOnATerminal(t *testing.T) {
	b := newBench(t)
	b.terminal = true
	b.hub.changes("List", changing...)
	out, _, code := b.until("Stopping", "sessions", "--watch")
	if code != exitOK || !strings.HasPrefix(out, wrapOff+clearScreen+home) || !strings.HasSuffix(out, wrapOn) {
		t.Errorf("exit %d: %q", code, out)
	}
	if n := strings.Count(out, clearScreen); n != 1 {
		t.Errorf("the screen was cleared %d times: it flickers", n)
	}
	frames := strings.Split(out, home)[1:]
	last := frames[len(frames)-1]
	if len(frames) < 5 || strings.Count(last, clearLine+"\n") != 3 || !strings.Contains(last, clearBelow) || strings.Contains(last, "01A") {
		t.Errorf("%d frames, the last one %q", len(frames), last)
	}
}

func TestAFrameFitsItsScreen(t *testing.T) {
	got := frame("1\n2\n3\n4\n5\n", 4)
	want := home + "1" + clearLine + "\n2" + clearLine + "\n... 3 more: make the window taller, or narrow the list" + clearLine + "\n" + clearBelow
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestWatchGoesOnWithoutTheHub: an absence is told once, and the watch looks again.
func TestWatchGoesOnWithoutTheHub(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		b := newBench(t)
		b.terminal = terminal
		var out, errOut bytes.Buffer
		a := b.app(&out, &errOut)
		looks := 0
		ctx, cancel := context.WithCancel(t.Context())
		look := func(context.Context) error {
			switch looks++; looks {
			case 2, 3:
				return api.Errorf(api.CodeUnavailable, "restarting\x1b[2J")
			case 5:
				cancel()
				return ctx.Err() // as a call does that is interrupted
			}
			a.say("look %d", looks)
			return nil
		}
		err := a.again(ctx, look)
		if terminal {
			looks = 0
			out.Reset()
			ctx, cancel = context.WithCancel(t.Context())
			err = a.redraw(ctx, look)
		}
		cancel()
		if err != nil || looks != 5 {
			t.Errorf("%d looks, %v", looks, err)
		}
		if !terminal && strings.Count(errOut.String(), "looking for it again") != 1 {
			t.Errorf("the absence was told as %q", errOut.String())
		}
		if terminal && !strings.Contains(out.String(), "03:04:05: restarting\\x1b[2J"+clearLine+"\nlook 1"+clearLine) {
			t.Errorf("the last screen did not stay: %q", out.String())
		}
	}
}

func TestStatusWatch(t *testing.T) {
	well := &navev1.StatusResponse{Version: "v9", Checks: []*navev1.Check{{Name: "etcd", State: checkOK}}}
	ill := &navev1.StatusResponse{Version: "v9", Checks: []*navev1.Check{{Name: "etcd", State: checkFailing, Detail: "away"}}}
	for _, terminal := range []bool{false, true} {
		b := newBench(t)
		b.terminal = terminal
		b.hub.status = well
		b.hub.then["Status"] = []func(){func() {}, func() { b.hub.status = ill }, func() { b.hub.status = well }}
		out, errOut, code := b.until("etcd: away", "status", "--watch")
		if code != exitOK || errOut != "" || !strings.Contains(out, "All is well") {
			t.Errorf("exit %d: %q %q", code, out, errOut)
		}
		if n := strings.Count(out, "All is well"); !terminal && n != 1 {
			t.Errorf("what did not change was printed %d times", n)
		}
	}
}

func TestAWatchEndsWithItsTimeout(t *testing.T) {
	b := newBench(t)
	if _, _, code := b.until("", "clusters", "--watch", "--timeout", "200ms"); code != exitOK {
		t.Errorf("exit %d", code)
	}
}
