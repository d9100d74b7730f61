//go:build kindtests

package kindtests

import (
	"bytes"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/testcluster"
)

const (
	imageOfClerk  = testcluster.Registry + "/test/clerk:1"
	imageOfLedger = testcluster.Registry + "/test/ledger:1"

	ownerOfLedger = "the accounts office" // told to the tool server alone
	deskOfClerk   = "the third on the left"
)

// TestAToolServerBesideItsAgent runs examples/sidecar: an agent and the MCP server that it calls, each in a container of its own.
func TestAToolServerBesideItsAgent(t *testing.T) {
	w := federate(limited(t), t, 1)
	c := w.bed.Clusters[0]
	w.sidecar()
	w.outside(c)
	w.live(c)
	w.applyExample()
	owner := []any{map[string]any{"name": "LEDGER_OWNER", "value": "everybody"}}
	for name, server := range map[string]map[string]any{
		"open":    {"name": "open", "image": imageOfLedger, "command": []string{"/ledger", "--listen", ":7000"}, "env": owner, "port": 7000},
		"failing": {"name": "nobodys", "image": imageOfLedger, "command": []string{"/ledger"}, "port": 7000},
	} {
		w.applyACP(name, imageOfClerk, []string{"/clerk"}, map[string]any{"mcp_servers": []any{server}})
	}
	t.Run("side by side", func(t *testing.T) {
		t.Run("its own", func(t *testing.T) { t.Parallel(); w.at(t).callsItsServer(c) })
		t.Run("one that ends at start", func(t *testing.T) { t.Parallel(); w.at(t).hasAFailingServer(c) })
	})
}

// sidecar builds the programs of examples/sidecar, which are a module of their own, and gives every node their images.
func (w *federated) sidecar() {
	w.t.Helper()
	dir := w.t.TempDir()
	build := exec.CommandContext(w.ctx, "go", "build", "-trimpath", "-o", dir, "./...")
	build.Dir, build.Env = filepath.Join("..", "examples", "sidecar"), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		w.t.Fatalf("build the example: %v\n%s", err, out)
	}
	w.give(testcluster.Image{Name: imageOfClerk, Files: map[string]string{"/clerk": filepath.Join(dir, "clerk")}})
	w.give(testcluster.Image{Name: imageOfLedger, Files: map[string]string{"/ledger": filepath.Join(dir, "ledger")}})
}

// applyExample applies the definition of the example, with the images of the test.
func (w *federated) applyExample() {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "examples", "sidecar", "agent.yaml"))
	w.must(err)
	for theirs, ours := range map[string]string{"registry.example.org/clerk:1": imageOfClerk, "registry.example.org/ledger:1": imageOfLedger} {
		if !bytes.Contains(text, []byte(theirs)) {
			w.t.Fatalf("the example does not name the image %s", theirs)
		}
		text = bytes.ReplaceAll(text, []byte(theirs), []byte(ours))
	}
	file := w.Path("sidecar.yaml")
	w.must(os.WriteFile(file, text, 0o600))
	w.nave("apply", "-f", file)
}

// callsItsServer: what a tool answered is in the log. Agent and server see nothing of each other but the port, and nobody else
// sees that. The server ends with the pod.
func (w *federated) callsItsServer(c *testcluster.Cluster) {
	session, _ := w.signal("clerk", "books", "tools\ncall enter {\"text\":\"tea for two\"}\nwait 300")
	said := "entry 1 of " + ownerOfLedger + ": tea for two"
	var log eventLog
	w.await("the tool has answered", func() (bool, error) {
		log = w.log(session)
		return len(log.of(api.EventResult)) > 0, fmt.Errorf("the log:\n%s", log)
	})
	calls, results := log.of(api.EventTool), log.of(api.EventResult)
	if len(calls) != 1 || !strings.HasPrefix(calls[0].GetText(), "ledger: enter\n") || results[0].GetText() != said {
		w.t.Errorf("calls %v, results %v, want one of each:\n%s", calls, results, log)
	}
	pod := w.onlyPod(c, session)
	clerk, ledger := w.process(c, "/clerk"), w.process(c, "/ledger")
	w.seesOnly(clerk, deskOfClerk, ownerOfLedger)
	w.seesOnly(ledger, ownerOfLedger, deskOfClerk)
	w.hasNothingOfNave(ledger, clerk)
	open, _ := w.signal("open", "books", "wait 300")
	w.await("the open one works", func() (bool, error) { return len(w.log(open).of(api.EventTurn)) > 0, nil })
	w.reachedByNobody(c, pod.Status.PodIP, w.onlyPod(c, open).Status.PodIP)
	w.nave("terminate", open, "--yes")
	if is := w.onlyPod(c, session); is.UID != pod.UID {
		w.t.Errorf("it is another pod now: nothing of the above was seen of one")
	}
	w.nave("cancel", session)
	w.ended(session, "[1] cancelled")
	w.sleeps(c, session)
	if left := c.Processes(named("/ledger", "")); slices.Contains(left, ledger) {
		w.t.Errorf("the tool server is left: %v", left)
	}
	log = w.again(session, "call read {}")
	w.says(log, "0 entries of "+ownerOfLedger, 1) // another one, that was started with the next pod
	w.sleeps(c, session)
}

// named finds processes by their program and what they were started with.
func named(program, first string) func(environ, cmdline []string) bool {
	return func(_, cmdline []string) bool {
		return len(cmdline) > 0 && cmdline[0] == program && (first == "" && len(cmdline) == 1 || len(cmdline) > 1 && cmdline[1] == first)
	}
}

// process is the one process of a program without arguments in a cluster whose environment has something of its own.
func (w *federated) process(c *testcluster.Cluster, program string) int {
	w.t.Helper()
	var found []int
	for _, pid := range c.Processes(named(program, "")) {
		if env, err := os.ReadFile(inProc(pid, "environ")); err == nil && (bytes.Contains(env, []byte(deskOfClerk)) || bytes.Contains(env, []byte(ownerOfLedger))) {
			found = append(found, pid)
		}
	}
	if len(found) != 1 {
		w.t.Fatalf("processes of %s: %v, want one", program, found)
	}
	return found[0]
}

func inProc(pid int, more ...string) string {
	return filepath.Join(append([]string{"/proc", strconv.Itoa(pid)}, more...)...)
}

// seesOnly reads the environments of everything that a process finds in the /proc of its own container.
func (w *federated) seesOnly(pid int, own, others string) {
	w.t.Helper()
	files, err := filepath.Glob(inProc(pid, "root", "proc", "[0-9]*", "environ"))
	w.must(err)
	var all []byte
	for _, f := range files {
		b, _ := os.ReadFile(f) // one that has ended meanwhile has none
		all = append(all, b...)
	}
	if !bytes.Contains(all, []byte(own)) || bytes.Contains(all, []byte(others)) {
		w.t.Errorf("process %d finds in /proc the environments %q; want %q and not %q", pid, all, own, others)
	}
}

// hasNothingOfNave looks through the file system of a tool server, and through that of the agent for what is not to be there.
func (w *federated) hasNothingOfNave(server, agent int) {
	w.t.Helper()
	for _, path := range []string{"nave/identity/token", "nave/state/home"} {
		if _, err := os.Stat(inProc(agent, "root", path)); err != nil {
			w.t.Errorf("the agent's container does not have what its server's must not: %v", err)
		}
	}
	root, seen := inProc(server, "root"), false
	err := filepath.WalkDir(root+"/", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside := strings.TrimPrefix(path, root)
		seen = seen || inside == "/ledger"
		if inside == "/proc" || inside == "/sys" {
			return fs.SkipDir
		}
		for _, word := range []string{"nave", "token", "secrets", "checkpoint"} {
			if strings.Contains(inside, word) {
				w.t.Errorf("the tool server has %s", inside)
			}
		}
		return nil
	})
	if err != nil || !seen {
		w.t.Fatalf("the file system of the tool server was not looked through: %v, its program found: %v", err, seen)
	}
	mounts, err := os.ReadFile(inProc(server, "mountinfo"))
	w.must(err)
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); strings.HasPrefix(f[4], "/nave") || strings.Contains(f[4], "secrets") {
			w.t.Errorf("in the tool server is mounted: %s", line)
		}
	}
}

// reachedByNobody: other pods do not reach a server that listens on the loopback address of its pod, and do reach one at the same port that
// listens on all addresses.
func (w *federated) reachedByNobody(c *testcluster.Cluster, closed, open string) {
	w.t.Helper()
	for _, namespace := range []string{namespaceOfOrg, metav1.NamespaceDefault} {
		asks := func(name, ip string) func() []string {
			pod := probe(name, "http://"+net.JoinHostPort(ip, "7000")+"/")
			pod.Namespace = namespace
			pods := c.Client.CoreV1().Pods(namespace)
			_, err := pods.Create(w.ctx, pod, metav1.CreateOptions{})
			w.must(err)
			return func() []string {
				text, _ := pods.GetLogs(name, &corev1.PodLogOptions{}).DoRaw(w.ctx) // it may not have begun
				return strings.Split(strings.TrimSpace(string(text)), "\n")
			}
		}
		ofOpen, ofClosed := asks("asks-open", open), asks("asks-closed", closed)
		w.await("a pod of "+namespace+" reaches the open one", func() (bool, error) {
			lines := ofOpen()
			return strings.HasPrefix(lines[len(lines)-1], "reached"), fmt.Errorf("it says %q", lines)
		})
		w.await("a pod of "+namespace+" asks and is refused", func() (bool, error) {
			lines := ofClosed()
			return deaf(lines, 3), fmt.Errorf("it says %q", lines)
		})
		for _, line := range ofClosed() {
			if !strings.Contains(line, "connection refused") {
				w.t.Errorf("a pod of %s says of the closed port: %s", namespace, line)
			}
		}
	}
}

// hasAFailingServer: people see what the server said, and not only that nobody listens.
func (w *federated) hasAFailingServer(c *testcluster.Cluster) {
	session, accepted := w.signal("failing", "books", "tools")
	w.await("the log says what is waited for", func() (bool, error) {
		log := w.log(session)
		for _, e := range log.of(api.EventLog) {
			if strings.Contains(e.GetText(), `waits for the tool server "nobodys"`) {
				return true, nil
			}
		}
		return false, fmt.Errorf("the log:\n%s", log)
	})
	w.t.Logf("the log says what is waited for %v after the signal", time.Since(accepted).Round(time.Millisecond))
	want := []string{`tool server "nobodys" does not listen`, "mcp-nobodys", "LEDGER_OWNER is not set"}
	var shown string
	for range 2 { // it is given a minute
		if holds(w.ctx, waitLimit, func() bool {
			var err error
			shown, err = w.Quiet(w.ctx, "sessions", "get", session)
			return err == nil && saysAll(shown, want)
		}) {
			break
		}
	}
	w.t.Logf("seen %v after the signal:\n%s", time.Since(accepted).Round(time.Millisecond), shown)
	if !saysAll(shown, want) {
		w.t.Errorf("people do not see %q", want)
	}
	w.nave("terminate", session, "--yes")
	w.await("nothing is left of the session", func() (bool, error) { return len(w.pods(c, session)) == 0, nil })
}
