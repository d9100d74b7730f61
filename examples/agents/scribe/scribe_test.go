package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/coder/acp-go-sdk"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/acp"
)

// TestMain lets a test start the scribe as a process: it is the test's own program.
func TestMain(m *testing.M) {
	if os.Getenv("SCRIBE_IS_THE_PROGRAM") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// heard is what a conversation with the scribe brought.
type heard struct {
	mu     sync.Mutex
	events []acp.Event
	deltas int
	first  func() // called with the first delta; may be nil
}

func (h *heard) Event(e acp.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
}

func (h *heard) Delta(acp.Delta) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.deltas++; h.deltas == 1 && h.first != nil {
		h.first()
	}
}

// of are the texts of all events of a type, one after the other.
func (h *heard) of(kind api.EventType) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all strings.Builder
	for _, e := range h.events {
		if e.Type == kind {
			all.WriteString(e.Text)
		}
	}
	return all.String()
}

// rig is a scribe in this process, with a home and a workspace that outlive it.
type rig struct {
	home, workspace string
}

func newRig(t *testing.T) rig { return rig{t.TempDir(), t.TempDir()} }

func (r rig) open(t *testing.T, session string) (*acp.Conversation, *heard, error) {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	a := newAgent(r.home)
	a.client = sdk.NewAgentSideConnection(a, outW, inR)
	a.client.SetLogger(slog.New(slog.DiscardHandler))
	h := &heard{}
	c, err := acp.Open(limited(t), acp.Config{In: inW, Out: outR, Dir: r.workspace, Sink: h}, session)
	if err == nil {
		t.Cleanup(func() {
			c.Close()
			<-a.client.Done()
		})
	}
	return c, h, err
}

// turn opens a conversation and does one turn in it.
func (r rig) turn(t *testing.T, session, text string, ask acp.Permission) (string, acp.Stop, *heard) {
	t.Helper()
	c, h, err := r.open(t, session)
	if err != nil {
		t.Fatal(err)
	}
	stop, err := c.Prompt(limited(t), []string{text}, ask)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	c.Close()
	return c.Session(), stop, h
}

func (r rig) memory(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(r.workspace, "memory.md"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(data)
}

func limited(t *testing.T) context.Context {
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(stop)
	return ctx
}

// answer answers every request with an option, and counts.
func answer(option string, asked *[]acp.PermissionRequest) acp.Permission {
	return func(_ context.Context, r acp.PermissionRequest) (acp.Choice, error) {
		*asked = append(*asked, r)
		return acp.Choice{Option: option}, nil
	}
}

func TestRememberAsksAndRecallAnswers(t *testing.T) {
	r := newRig(t)
	var asked []acp.PermissionRequest
	session, stop, h := r.turn(t, "", "You are a scribe.\nremember tea at five", answer("allow", &asked))
	if len(asked) != 1 || asked[0].Title != "write memory.md" || len(asked[0].Options) != 2 || stop.Reason != "end_turn" {
		t.Fatalf("asked %+v; stop %+v", asked, stop)
	}
	if r.memory(t) != "- tea at five\n" || !strings.Contains(h.of(api.EventMessage), "I remember: tea at five") {
		t.Errorf("memory %q, said %q", r.memory(t), h.of(api.EventMessage))
	}
	if h.of(api.EventThought) == "" || !strings.Contains(h.of(api.EventPlan), "[x] remember tea at five") || h.of(api.EventUsage) == "" || h.deltas < 3 {
		t.Errorf("events %+v, %d deltas", h.events, h.deltas)
	}
	if _, _, h := r.turn(t, session, "recall", answer("allow", &asked)); h.of(api.EventMessage) != "- tea at five\n" {
		t.Errorf("recalled %q", h.of(api.EventMessage))
	}
	if _, _, h := r.turn(t, session, "remember tea at five", answer("allow", &asked)); len(asked) != 1 || !strings.Contains(h.of(api.EventMessage), "already") {
		t.Errorf("the same again asked %d times", len(asked))
	}
}

func TestDeniedWritesNothing(t *testing.T) {
	r := newRig(t)
	var asked []acp.PermissionRequest
	_, stop, h := r.turn(t, "", "remember a secret", answer("reject", &asked))
	if r.memory(t) != "" || !strings.Contains(h.of(api.EventMessage), "may not write") || stop.Reason != "end_turn" {
		t.Errorf("memory %q, said %q, stop %+v", r.memory(t), h.of(api.EventMessage), stop)
	}
}

func TestPendingIsAskedAgain(t *testing.T) {
	r := newRig(t)
	var first, second []acp.PermissionRequest
	c, _, err := r.open(t, "")
	if err != nil {
		t.Fatal(err)
	}
	stop, err := c.Prompt(limited(t), []string{"remember tea"}, func(ctx context.Context, p acp.PermissionRequest) (acp.Choice, error) {
		first = append(first, p)
		if err := c.Cancel(limited(t)); err != nil {
			t.Error(err)
		}
		<-ctx.Done()
		return acp.Choice{}, context.Cause(ctx)
	})
	if err != nil || stop.Reason != "cancelled" {
		t.Fatalf("Prompt = %+v, %v", stop, err)
	}
	c.Close()
	_, stop, _ = r.turn(t, c.Session(), "Your request was approved.", answer("allow", &second))
	if len(first) != 1 || len(second) != 1 || first[0].Fingerprint != second[0].Fingerprint || r.memory(t) != "- tea\n" {
		t.Errorf("asked %+v, then %+v; memory %q; stop %+v", first, second, r.memory(t), stop)
	}
}

func TestCountMakesManyEvents(t *testing.T) {
	_, _, h := newRig(t).turn(t, "", "count 70", answer("", new([]acp.PermissionRequest)))
	if len(h.events) < 210 || !strings.HasSuffix(h.of(api.EventMessage), "number 70\n") {
		t.Errorf("%d events", len(h.events))
	}
}

func TestSlowHonoursCancel(t *testing.T) {
	c, h, err := newRig(t).open(t, "")
	if err != nil {
		t.Fatal(err)
	}
	h.first = func() {
		if err := c.Cancel(limited(t)); err != nil {
			t.Error(err)
		}
	}
	stop, err := c.Prompt(limited(t), []string{"slow 100000"}, answer("", new([]acp.PermissionRequest)))
	if err != nil || stop.Reason != "cancelled" {
		t.Errorf("Prompt = %+v, %v", stop, err)
	}
}

func TestLoadOfWhatIsNotThere(t *testing.T) {
	for _, session := range []string{"NEVERMADE", "../../etc/passwd"} {
		_, _, err := newRig(t).open(t, session)
		var start *acp.StartError
		if !errors.As(err, &start) || start.Kind != api.StartFailureRestore {
			t.Errorf("Open(%q) = %v", session, err)
		}
	}
}

// TestProcess drives the program itself: it signals by the nave-harness in its PATH, and crashes when it is told to.
func TestProcess(t *testing.T) {
	r, bin := newRig(t), t.TempDir()
	script := "#!/bin/sh\necho \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "nave-harness"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(limited(t), self)
	cmd.Env = []string{"SCRIBE_IS_THE_PROGRAM=1", "HOME=" + r.home, "PATH=" + bin + ":/usr/bin:/bin"}
	var problems bytes.Buffer
	cmd.Stderr = &problems
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = outW
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	outW.Close()
	h := &heard{}
	c, err := acp.Open(limited(t), acp.Config{In: in, Out: out, Dir: r.workspace, Sink: h}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	none := answer("", new([]acp.PermissionRequest))
	if _, err := c.Prompt(limited(t), []string{"signal auditor nave please look"}, none); err != nil {
		t.Error(err)
	}
	if got := h.of(api.EventResult); got != "signal auditor --key nave -m please look" {
		t.Errorf("nave-harness was called with %q", got)
	}
	if _, err := c.Prompt(limited(t), []string{"crash"}, none); !errors.Is(err, acp.ErrEnded) {
		t.Errorf("Prompt of a process that crashes = %v", err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(problems.String(), "told to crash") {
		t.Errorf("the process ended with %v, and printed %q", err, problems.String())
	}
}
