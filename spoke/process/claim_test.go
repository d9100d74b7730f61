package process_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/harness"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
	"github.com/nave-dev/nave/spoke/process"
)

func spec(attempt uint32) spoke.WorkloadSpec {
	return spoke.WorkloadSpec{
		ID:  spoke.WorkloadID{Session: "01J00000000000000000000000", Epoch: api.Epoch{N: 1, Incarnation: uint32(os.Getpid())}, Attempt: attempt},
		Org: api.DefaultOrg, Key: "key",
		Revision: &api.ResolvedRevision{
			AgentName:   "tester",
			Agent:       &api.AgentSpec{Environment: "local", Harness: api.HarnessSpec{Protocol: api.ProtocolCommand, Command: []string{"true"}}},
			Environment: &api.EnvironmentSpec{},
		},
	}
}

func TestRefuseNamesTheField(t *testing.T) {
	rt, _ := newRuntime(t)
	for field, change := range map[string]func(*api.EnvironmentSpec, *api.AgentSpec){
		"":                   func(_ *api.EnvironmentSpec, a *api.AgentSpec) { a.Checkpoint.Mode = api.CheckpointIdle },
		"spec.image":         func(e *api.EnvironmentSpec, _ *api.AgentSpec) { e.Image = "alpine" },
		"spec.command":       func(e *api.EnvironmentSpec, _ *api.AgentSpec) { e.Command = []string{"init"} },
		"spec.flavor":        func(e *api.EnvironmentSpec, _ *api.AgentSpec) { e.Flavor = "huge" },
		"spec.runtime_class": func(e *api.EnvironmentSpec, _ *api.AgentSpec) { e.RuntimeClass = "gvisor" },
		"spec.volumes":       func(e *api.EnvironmentSpec, _ *api.AgentSpec) { e.Volumes = make([]api.Volume, 1) },
		"spec.pull_secrets":  func(e *api.EnvironmentSpec, _ *api.AgentSpec) { e.PullSecrets = []string{"x"} },
		"spec.warm_pool":     func(e *api.EnvironmentSpec, _ *api.AgentSpec) { e.WarmPool = 1 },
		"spec.egress":        func(e *api.EnvironmentSpec, _ *api.AgentSpec) { e.Egress = []api.EgressRule{{Host: "example.com"}} },
		"spec.env[1].secret": func(e *api.EnvironmentSpec, _ *api.AgentSpec) {
			e.Env = []api.EnvVar{{Name: "A", Value: "b"}, {Name: "B", Secret: "s/k"}}
		},
		"spec.mcp_servers": func(_ *api.EnvironmentSpec, a *api.AgentSpec) { a.MCPServers = make([]api.MCPServer, 1) },
		"spec.mcp_servers[1].image": func(_ *api.EnvironmentSpec, a *api.AgentSpec) {
			*a = withServers(api.MCPServer{Name: "a", Command: []string{"a"}, Stdio: true}, api.MCPServer{Name: "b", Image: "b", Stdio: true})
		},
		"spec.mcp_servers[0].port": func(_ *api.EnvironmentSpec, a *api.AgentSpec) {
			*a = withServers(api.MCPServer{Name: "a", Command: []string{"a"}, Port: 80})
		},
		"spec.mcp_servers[0].env[0].secret": func(_ *api.EnvironmentSpec, a *api.AgentSpec) {
			*a = withServers(api.MCPServer{Name: "a", Command: []string{"a"}, Stdio: true, Env: []api.EnvVar{{Name: "A", Secret: "s/k"}}})
		},
		"spec.model.provider": func(_ *api.EnvironmentSpec, a *api.AgentSpec) { a.Model = api.ModelRef{Name: "m", Provider: "p"} },
	} {
		w := spec(1)
		change(w.Revision.Environment, w.Revision.Agent)
		err := rt.Refuse(w.Revision)
		if api.FieldOf(err) != field || field != "" && api.CodeOf(err) != api.CodeUnsupported || field == "" && err != nil {
			t.Errorf("Refuse = %v (code %q, field %q), want field %q", err, api.CodeOf(err), api.FieldOf(err), field)
		}
	}
}

// What an agent of the other protocol wants is honoured, and its harness is told.
func TestDescriptionOfAConversation(t *testing.T) {
	rt, c := newRuntime(t)
	w := spec(1)
	*w.Revision.Agent = withServers(api.MCPServer{Name: "files", Command: []string{"serve", "-x"}, Stdio: true, Env: []api.EnvVar{{Name: "A", Value: "b"}}})
	w.Revision.Agent.Skills = []api.Skill{{Name: "review", Description: "how to review", Body: "Look twice."}}
	w.Revision.Agent.ApprovalHold = time.Minute
	if err := rt.Refuse(w.Revision); err != nil {
		t.Fatal(err)
	}
	if err := rt.Start(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	got, err := harness.Load(filepath.Join(c.Dir, "workloads", w.ID.String(), "workload.json"))
	if err != nil {
		t.Fatal(err)
	}
	want := &harnessv1.Workload{
		Protocol: "acp", ApprovalHold: durationpb.New(time.Minute),
		McpServers: []*harnessv1.McpServer{{Name: "files", Command: []string{"serve", "-x"}, Env: []*harnessv1.EnvVar{{Name: "A", Value: "b"}}}},
		Skills:     []*harnessv1.Skill{{Name: "review", Description: "how to review", Body: "Look twice."}},
	}
	said := &harnessv1.Workload{Protocol: got.Protocol, ApprovalHold: got.ApprovalHold, McpServers: got.McpServers, Skills: got.Skills}
	if diff := cmp.Diff(want, said, protocmp.Transform()); diff != "" {
		t.Errorf("description (-want +got)\n%s", diff)
	}
	if err := rt.Stop(t.Context(), w.ID, time.Second); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(20 * time.Second)
	for {
		list, err := rt.List(t.Context())
		if err == nil && len(list) == 1 && list[0].State == spoke.WorkloadEnded {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			t.Fatalf("the workload does not end: %v, %v", list, err)
		}
	}
}

func withServers(servers ...api.MCPServer) api.AgentSpec {
	return api.AgentSpec{Environment: "local", Harness: api.HarnessSpec{Protocol: api.ProtocolACP, Command: []string{"true"}}, MCPServers: servers}
}

// A claim without a process is a start that was cut off: ended, and gone after Stop. What runs with its mark is killed.
func TestCutOffStart(t *testing.T) {
	rt, c := newRuntime(t)
	id := spec(1).ID
	if err := os.Mkdir(filepath.Join(c.Dir, "workloads", id.String()), 0o700); err != nil {
		t.Fatal(err)
	}
	orphan := sleeper(t, "NAVE_WORKLOAD="+id.String())
	want(t, rt, spoke.Workload{ID: id, State: spoke.WorkloadEnded, Exit: "killed", Failure: api.StartFailureCrash})
	if state := procState(orphan.Pid); state != "Z" { // its parent, this test, has not reaped it
		t.Errorf("the process with the mark is in state %q", state)
	}
	if err := rt.Stop(t.Context(), id, time.Second); err != nil {
		t.Fatal(err)
	}
	want(t, rt)
}

// A process that has the number of a dead harness by chance is not the harness, and is not killed for it.
func TestNumbersThatAreUsedAgain(t *testing.T) {
	rt, c := newRuntime(t)
	id := spec(1).ID
	dir := filepath.Join(c.Dir, "workloads", id.String())
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	other := sleeper(t, "UNRELATED=1")
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		strings.TrimSpace(string(boot)) + " " + strconv.Itoa(other.Pid) + " 1\n",
		"another-boot " + strconv.Itoa(other.Pid) + " " + startTime(t, other.Pid) + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, "pid"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := rt.Verify(id, other.Pid); api.CodeOf(err) != api.CodeDenied {
			t.Errorf("pid file %q: Verify = %v", text, err)
		}
		want(t, rt, spoke.Workload{ID: id, State: spoke.WorkloadEnded, Exit: "killed", Failure: api.StartFailureCrash})
		if err := other.Signal(syscall.Signal(0)); err != nil {
			t.Fatalf("pid file %q: the unrelated process was killed: %v", text, err)
		}
	}
}

func TestVerify(t *testing.T) {
	rt, c := newRuntime(t)
	w := spec(1)
	if err := rt.Verify(w.ID, os.Getpid()); api.CodeOf(err) != api.CodeDenied {
		t.Errorf("Verify of what was not started = %v", err)
	}
	if err := rt.Start(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { clean(t, rt) })
	pid, err := harnessOf(c.Dir, w.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := rt.Verify(w.ID, pid); err != nil {
		t.Errorf("Verify of the harness = %v", err)
	}
	if err := rt.Verify(w.ID, os.Getpid()); api.CodeOf(err) != api.CodeDenied {
		t.Errorf("Verify of another process = %v", err)
	}
	if err := rt.Verify(spec(2).ID, pid); api.CodeOf(err) != api.CodeDenied {
		t.Errorf("Verify of the harness for another workload = %v", err)
	}
}

// A harness outlives the spoke: what it inherited would be held open for as long.
func TestHarnessInheritsNoFiles(t *testing.T) {
	rt, c := newRuntime(t)
	path := filepath.Join(c.Dir, "lock")
	fd, err := syscall.Open(path, syscall.O_CREAT|syscall.O_RDWR, 0o600) // without O_CLOEXEC, as a parent's file
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := rt.Start(t.Context(), spec(1)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { clean(t, rt) })
	pid, err := harnessOf(c.Dir, spec(1).ID)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/fd/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("files of the harness: %v, %v", files, err)
	}
	for _, f := range files {
		if to, err := os.Readlink(f); err == nil && to == path {
			t.Errorf("the harness holds %s open", path)
		}
	}
}

// The grace is kept by Run alone too, and over a restart: the deadline is in the claim.
func TestDeadlineSurvivesARestart(t *testing.T) {
	rt, c := newRuntime(t)
	w := spec(1)
	if err := rt.Start(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { clean(t, rt) })
	pid, err := harnessOf(c.Dir, w.ID)
	if err != nil {
		t.Fatal(err)
	}
	// It must not end by itself: stopped, it acts on no signal but SIGKILL.
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for procState(pid) != "T" && time.Now().Before(deadline) {
		<-tick.C
	}
	if err := rt.Stop(t.Context(), w.ID, 300*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if err := rt.Stop(t.Context(), w.ID, time.Hour); err != nil { // does not put it off
		t.Fatal(err)
	}
	second, err := process.New(c)
	if err != nil {
		t.Fatal(err)
	}
	g := run.NewGroup(context.Background())
	g.Go("runtime", second.Run)
	for procState(pid) == "T" && time.Now().Before(deadline) {
		<-tick.C
	}
	g.Stop()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	ws, err := second.List(t.Context())
	if err != nil || len(ws) != 1 || ws[0].State != spoke.WorkloadEnded || !strings.Contains(ws[0].Exit, "grace") {
		t.Errorf("List = %+v, %v; want it killed after its grace", ws, err)
	}
}

func TestStartThatCannotRunLeavesNothing(t *testing.T) {
	_, c := newRuntime(t)
	c.Harness = filepath.Join(c.Dir, "no-such-harness")
	rt, err := process.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := rt.Start(t.Context(), spec(1)); err == nil {
		t.Fatal("Start without a harness program is no error")
	}
	want(t, rt)
}

func TestListFailsRatherThanForgets(t *testing.T) {
	rt, c := newRuntime(t)
	if err := os.Mkdir(filepath.Join(c.Dir, "workloads", "not an id"), 0o700); err != nil {
		t.Fatal(err)
	}
	if ws, err := rt.List(t.Context()); err == nil {
		t.Errorf("List = %v, and a claim cannot be read", ws)
	}
	if err := os.RemoveAll(filepath.Join(c.Dir, "workloads")); err != nil {
		t.Fatal(err)
	}
	if ws, err := rt.List(t.Context()); err == nil {
		t.Errorf("List = %v, and the claims are gone", ws)
	}
}

// want asserts what the runtime lists.
func want(t *testing.T, rt *process.Runtime, ws ...spoke.Workload) {
	t.Helper()
	got, err := rt.List(t.Context())
	if err != nil || len(got) != len(ws) {
		t.Fatalf("List = %+v, %v; want %+v", got, err, ws)
	}
	for i := range ws {
		if got[i] != ws[i] {
			t.Errorf("List[%d] = %+v, want %+v", i, got[i], ws[i])
		}
	}
}

// clean stops everything at once.
func clean(t *testing.T, rt *process.Runtime) {
	t.Helper()
	for range 2 { // ends it, removes it
		ws, err := rt.List(context.Background())
		if err != nil {
			t.Error(err)
		}
		for _, w := range ws {
			if err := rt.Stop(context.Background(), w.ID, 0); err != nil {
				t.Error(err)
			}
		}
	}
}

// sleeper is a process with an environment, ended with the test.
func sleeper(t *testing.T, env string) *os.Process {
	t.Helper()
	p, err := os.StartProcess("/bin/sleep", []string{"sleep", "3600"}, &os.ProcAttr{Env: []string{env}, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.Kill() == nil {
			p.Wait()
		}
	})
	return p
}

// procState is the state of a process as proc(5) has it, empty when there is none.
func procState(pid int) string { return procField(pid, 0) }

// startTime is the start time of a process in ticks.
func startTime(t *testing.T, pid int) string {
	t.Helper()
	s := procField(pid, 19)
	if s == "" {
		t.Fatalf("process %d does not run", pid)
	}
	return s
}

// procField is a field of /proc/PID/stat, counted behind the name.
func procField(pid, n int) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	return strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))[n]
}
