package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke/harness/local"
)

// TestMain makes this binary the program itself, when a test runs it so.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_AS_PROGRAM") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// supervisor is the harness behind a socket: it keeps what it was asked.
type supervisor struct {
	mu   sync.Mutex
	got  []string // guarded by mu
	fail error
}

func (s *supervisor) keep(format string, args ...any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, fmt.Sprintf(format, args...))
	return s.fail
}

func (s *supervisor) Signal(_ context.Context, r local.SignalRequest) (local.SignalAnswer, error) {
	return local.SignalAnswer{SignalID: "sig", SessionID: "other", Sequence: 7, Duplicate: r.IdempotencyKey != ""},
		s.keep("signal %s %s %q %s", r.Agent, r.Key, r.Payload, r.IdempotencyKey)
}

func (s *supervisor) Emit(_ context.Context, text string, attributes map[string]string) error {
	return s.keep("emit %s %v", text, attributes)
}

func (s *supervisor) State(context.Context) local.State {
	return local.State{Session: "S", Key: "k", Agent: "writer", Organization: "o", Cluster: "c", Workload: "w", Attempt: 2, Signals: []uint64{4, 5}}
}

// serve runs the local API until the test ends.
func serve(t *testing.T, s *supervisor) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "api.sock")
	srv, err := local.New(local.Config{Path: path, Backend: s, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	g := run.NewGroup(t.Context())
	g.Go("api", srv.Run)
	t.Cleanup(func() {
		g.Stop()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
	select {
	case <-srv.Ready():
	case <-time.After(10 * time.Second):
		t.Fatal("the API is not served")
	}
	return path
}

func TestCommands(t *testing.T) {
	s := &supervisor{}
	socket := serve(t, s)
	file := filepath.Join(t.TempDir(), "message")
	if err := os.WriteFile(file, []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(large, make([]byte, local.MaxPayload+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args string // separated by a comma
		code int
		out  string // begins with
		got  string // by the supervisor; empty: nothing
	}{
		{"signal,reviewer,--key,pr 7,-m,look", 0, "session other sequence 7\n", `signal reviewer pr 7 "look" `},
		{"signal,--key=k,reviewer,-m,,--idempotency-key,i", 0, "session other sequence 7 (duplicate)\n", `signal reviewer k "" i`},
		{"signal,reviewer,--key,k,-f," + file, 0, "session", `signal reviewer k "from a file" `},
		{"signal,reviewer,--key,k,-", 0, "session", `signal reviewer k "typed" `},
		{"signal,reviewer,--key,k,-f,-,-o,json", 0, `{"signal_id":"sig","session_id":"other","sequence":7,"duplicate":false}`, `signal reviewer k "typed" `},
		{"emit,half done,--attribute,part=1/2,--attribute,of=a=b", 0, "", "emit half done map[of:a=b part:1/2]"},
		{"state", 0, "agent         writer\nkey           k\n", ""},
		{"state,-o,json", 0, `{"session":"S","key":"k","agent":"writer"`, ""},
		{"help", 0, "usage:", ""},
		{"signal,--help", 0, "usage:", ""},
		{"version", 0, "", ""},

		{"", 2, "", ""},
		{"sign", 2, "", ""},
		{"signal,reviewer,-m,look", 2, "", ""},
		{"signal,reviewer,--key,k", 2, "", ""},
		{"signal,reviewer,--key,k,-m,a,-f,-", 2, "", ""},
		{"signal,reviewer,other,--key,k,-m,a", 2, "", ""},
		{"signal,reviewer,--key,k,-m,a,--now", 2, "", ""},
		{"signal,reviewer,--key,k,-m,a,-o,yaml", 2, "", ""},
		{"signal,reviewer,--key,k,-f," + large, 1, "", ""},
		{"signal,reviewer,--key,k,-f,/nonexistent", 1, "", ""},
		{"signal,No Name,--key,k,-m,a", 1, "", ""}, // the API's word
		{"emit", 2, "", ""},
		{"emit,a,--attribute,b", 2, "", ""},
		{"emit,a,--attribute,b=1,--attribute,b=2", 2, "", ""},
		{"state,now", 2, "", ""},
	} {
		s.got = nil
		var out, errOut strings.Builder
		p := program{in: strings.NewReader("typed"), out: &out, errOut: &errOut, socket: socket}
		code := p.run(t.Context(), slices.DeleteFunc(strings.Split(tt.args, ","), func(string) bool { return tt.args == "" }))
		got := strings.Join(s.got, "; ")
		if code != tt.code || !strings.HasPrefix(out.String(), tt.out) || got != tt.got {
			t.Errorf("%s: exit %d, printed %q, the supervisor got %q; %s", tt.args, code, out.String(), got, errOut.String())
		}
		if (code == 0) != (errOut.Len() == 0) || code != 0 && out.Len() > 0 {
			t.Errorf("%s: exit %d with %q on the one side and %q on the other", tt.args, code, out.String(), errOut.String())
		}
	}
}

func TestStateIsPrintedAsTheAPIHasIt(t *testing.T) {
	var out strings.Builder
	s := &supervisor{}
	if code := (&program{out: &out, errOut: os.Stderr, socket: serve(t, s)}).run(t.Context(), []string{"state", "-o", "json"}); code != 0 {
		t.Fatal(code)
	}
	var st local.State
	if err := json.Unmarshal([]byte(out.String()), &st); err != nil || !cmp.Equal(st, s.State(t.Context())) {
		t.Errorf("%s: %v", out.String(), err)
	}
}

func TestExitCodes(t *testing.T) {
	for code, want := range map[api.Code]int{api.CodeInvalid: 1, api.CodeNotFound: 3, api.CodeExists: 6, api.CodeConflict: 6, api.CodeInUse: 6,
		api.CodeUnauthenticated: 4, api.CodeDenied: 4, api.CodeLimit: 1, api.CodeUnavailable: 5, api.CodeUnsupported: 1, api.CodeFailed: 1, api.CodeInternal: 1} {
		s := &supervisor{fail: api.Errorf(code, "because of the moon")}
		var out, errOut strings.Builder
		got := (&program{out: &out, errOut: &errOut, socket: serve(t, s)}).run(t.Context(), []string{"signal", "reviewer", "--key", "k", "-m", "a"})
		if got != want || errOut.String() != "error: because of the moon\n" || out.Len() > 0 {
			t.Errorf("%s: exit %d, %q", code, got, errOut.String())
		}
	}
	var errOut strings.Builder
	if code := (&program{errOut: &errOut}).run(t.Context(), []string{"state"}); code != 1 || !strings.Contains(errOut.String(), "only inside a workload") {
		t.Errorf("outside of a workload: exit %d, %s", code, errOut.String())
	}
	errOut.Reset()
	if code := (&program{errOut: &errOut, socket: filepath.Join(t.TempDir(), "none")}).run(t.Context(), []string{"state"}); code != 5 {
		t.Errorf("nobody serves: exit %d, %s", code, errOut.String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	errOut.Reset()
	if code := (&program{errOut: &errOut, socket: serve(t, &supervisor{})}).run(ctx, []string{"state"}); code != 130 {
		t.Errorf("interrupted: exit %d, %s", code, errOut.String())
	}
}

// A path is a description, also one that is called like a command in its folder.
func TestDescriptionsAreNotCommands(t *testing.T) {
	for arg, want := range map[string]bool{"state": true, "pod": true, "install": true, "/run/x/workload.json": false, "./state": false, "signals": false} {
		if isCommand(arg) != want {
			t.Errorf("%s: %v", arg, !want)
		}
	}
}

// The program is copied as a whole, over an older one too, and may be executed by everybody.
func TestInstall(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "nave-harness")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	for _, before := range []string{"", "an older one"} {
		if before != "" {
			if err := os.WriteFile(path, []byte(before), 0o400); err != nil {
				t.Fatal(err)
			}
		}
		var errOut strings.Builder
		if code := (&program{errOut: &errOut}).run(t.Context(), []string{"install", path}); code != 0 {
			t.Fatalf("exit %d: %s", code, errOut.String())
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != string(want) {
			t.Errorf("%d bytes of %d were copied, %v", len(got), len(want), err)
		}
		if fi, err := os.Stat(path); err != nil || fi.Mode() != 0o755 {
			t.Errorf("%v, %v", fi.Mode(), err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("beside it there is %v, %v", entries, err)
		}
	}
	for args, want := range map[string]int{"install": 2, "install relative": 2, "install /a /b": 2, "install " + dir + "/none/x": 1, "install " + dir: 1, "pod now": 2} {
		var errOut strings.Builder
		if code := (&program{errOut: &errOut}).run(t.Context(), strings.Fields(args)); code != want {
			t.Errorf("%s: exit %d, %s", args, code, errOut.String())
		}
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(dir), ".nave-harness-*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// In a pod the program says which variable is missing, where the platform and where people look.
func TestPodWithoutItsVariables(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "termination-log")
	cmd := exec.Command(self, "pod")
	cmd.Env = []string{"TEST_AS_PROGRAM=1", "NAVE_WORKLOAD=w", "NAVE_EXIT_FILE=" + file}
	out, err := cmd.CombinedOutput()
	text, rerr := os.ReadFile(file)
	if code := cmd.ProcessState.ExitCode(); code != 2 || rerr != nil || !strings.Contains(string(out), "NAVE_SPOKE") || !strings.Contains(string(text), "NAVE_SPOKE") {
		t.Errorf("exit %d (%v), printed %q, left %q (%v)", code, err, out, text, rerr)
	}
}
