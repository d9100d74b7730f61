package harness_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/door"
	"github.com/nave-dev/nave/spoke/harness"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// mainOfPod is a harness as in a pod; first: as process 1 of a container, whose files of processes it mounts.
func mainOfPod(first bool) int {
	if first {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			panic(err)
		}
		if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
			panic(err)
		}
	}
	patience := 30 * time.Second
	if text := os.Getenv("NAVE_TEST_REFUSAL"); text != "" {
		patience = duration([]byte(text), nil)
	}
	return harness.PodWith(os.Getenv, "test", os.Stderr, patience, os.Getenv("NAVE_TEST_CGROUP"))
}

// user is who runs the containers, when the tests run as root: a user of no rights, as in a cluster.
const user = 65532

// pod is a harness process that finds its spoke in its environment, and the spoke's side of it.
type pod struct {
	*rig
	ca    *door.Authority
	at    string // host:port of the door
	proxy string // the same as the harness is told, when something is between them
	self  string // this program, where the user may execute it
	token string // file
	first bool   // it is process 1

	mu       sync.Mutex
	tokens   map[string]spoke.WorkloadID                                          // guarded by mu
	describe func(context.Context, spoke.WorkloadID) (*harnessv1.Workload, error) // instead of the rig's workload, when it is not nil; guarded by mu
	asked    int                                                                  // for a description; guarded by mu

	handshakes, verified int // guarded by mu
}

func newPod(t *testing.T, script string) *pod {
	t.Helper()
	p := &pod{rig: newRig(t, script), tokens: make(map[string]spoke.WorkloadID)}
	// Volumes as a node makes them: the node's, and writable by the group of the pod.
	volume := func(name string) string {
		dir := filepath.Join(p.dir, name)
		p.must(os.Mkdir(dir, 0o700))
		if os.Getuid() == 0 {
			p.must(os.Chown(dir, 0, user))
			p.must(os.Chmod(dir, 0o2770))
		}
		return dir
	}
	p.must(os.Chmod(p.dir, 0o755))
	state, temp := volume("nave"), volume("tmp")
	p.w.State, p.w.Home, p.w.Workspace = filepath.Join(state, "checkpoints"), filepath.Join(state, "home"), filepath.Join(state, "workspace")
	p.w.Temp, p.w.Path, p.w.Socket = temp, "", ""
	p.token = filepath.Join(p.dir, "token")
	p.w.ExitFile = filepath.Join(p.dir, "termination-log")
	p.must(os.WriteFile(p.w.ExitFile, nil, 0o600))
	p.must(os.Chmod(p.w.ExitFile, 0o666)) // its directory is not writable for the user
	p.bear("token-one")

	self, err := os.Executable()
	p.must(err)
	b, err := os.ReadFile(self)
	p.must(err)
	p.self = filepath.Join(p.dir, "nave-harness")
	p.must(os.WriteFile(p.self, b, 0o755))

	// An address of its own, so that the harness can be told it before the door is open, and after it was closed.
	l, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.%d:0", 1+rand.IntN(250), rand.IntN(250), 2+rand.IntN(250)))
	p.must(err)
	p.at = l.Addr().String()
	p.must(l.Close())
	p.restarted()
	t.Cleanup(func() {
		if p.cmd != nil && p.cmd.ProcessState == nil {
			p.cmd.Process.Kill()
			p.cmd.Wait()
		}
		p.away()
	})
	return p
}

func (p *pod) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// bear replaces the token, as a kubelet does, and what the spoke takes for it.
func (p *pod) bear(token string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.tokens)
	p.tokens[token] = p.id
	next := p.token + ".next"
	p.must(os.WriteFile(next, []byte(token+"\n"), 0o600))
	if os.Getuid() == 0 {
		p.must(os.Chown(next, 0, user))
		p.must(os.Chmod(next, 0o640))
	}
	p.must(os.Rename(next, p.token))
}

// restarted makes the door anew, from what a spoke keeps: its authority.
func (p *pod) restarted() {
	p.t.Helper()
	ca, err := door.OpenAuthority(filepath.Join(p.dir, "spoke"))
	p.must(err)
	p.ca = ca
	p.door, err = door.New(door.Config{
		Vault: p.v, Messenger: p.m, Log: slog.New(slog.NewTextHandler(p.t.Output(), nil)),
		Remote: &door.Remote{Listen: p.at, Verify: p.verify, Describe: p.described, Certificate: func() (*tls.Certificate, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.handshakes++
			return ca.Certificate()
		}},
	})
	p.must(err)
}

func (p *pod) verify(_ context.Context, id spoke.WorkloadID, token string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.verified++
	if want, ok := p.tokens[token]; !ok || want != id {
		return api.Errorf(api.CodeDenied, "not a token of this pod")
	}
	return nil
}

func (p *pod) described(ctx context.Context, id spoke.WorkloadID) (*harnessv1.Workload, error) {
	p.mu.Lock()
	p.asked++
	describe := p.describe
	p.mu.Unlock()
	if describe != nil {
		return describe(ctx, id)
	}
	if id != p.id {
		return nil, api.Errorf(api.CodeNotFound, "workload %s: there is none", id)
	}
	w := proto.Clone(p.w).(*harnessv1.Workload)
	w.ExitFile = "" // the environment says where
	return w, nil
}

// environ is that of the container: what the image says, and what the platform adds.
func (p *pod) environ() []string {
	at := p.at
	if p.proxy != "" {
		at = p.proxy
	}
	return append([]string{
		"PATH=/usr/bin:/bin", "HOSTNAME=pod-1", "KUBERNETES_SERVICE_HOST=10.0.0.1", "KUBERNETES_PORT_443_TCP_ADDR=10.0.0.1",
		"NAVE_WORKLOAD=" + p.w.Id, "NAVE_SPOKE=" + at, "NAVE_AUTHORITY=" + string(p.ca.PEM()), "NAVE_TOKEN_FILE=" + p.token, "NAVE_EXIT_FILE=" + p.w.ExitFile,
	}, p.env...)
}

// start starts the harness.
func (p *pod) start() {
	p.t.Helper()
	p.cmd = exec.Command(p.self, "pod")
	p.cmd.SysProcAttr = &syscall.SysProcAttr{}
	switch root := os.Getuid() == 0; {
	case p.first:
		p.cmd.Args[1] = "first"
		p.cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS
		if !root {
			p.cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			p.cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		}
	case root:
		p.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: user, Gid: user}
	}
	p.cmd.Dir = "/"
	p.cmd.Env = p.environ()
	p.cmd.Stderr = p.t.Output()
	p.must(p.cmd.Start())
}

// begin starts the harness and opens the door, with a lease without an end.
func (p *pod) begin() {
	p.t.Helper()
	p.start()
	p.back()
	p.door.Lease(p.id, spoke.LeaseForever)
}

// left is what the exit file says now.
func (p *pod) left() (*harnessv1.Exit, string) {
	p.t.Helper()
	text, err := os.ReadFile(p.w.ExitFile)
	p.must(err)
	e := new(harnessv1.Exit)
	if len(text) > 0 {
		if err := protojson.Unmarshal(text, e); err != nil {
			p.t.Fatalf("exit file %q: %v", text, err)
		}
	}
	return e, string(text)
}

// wire carries connections to the door, and can be cut as a network is: what was sent is not answered, not even by an end.
type wire struct {
	at string

	mu  sync.Mutex
	cut chan struct{} // closed: connections of before carry nothing any more
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{at: l.Addr().String(), cut: make(chan struct{})}
	g := run.NewGroup(context.Background())
	g.Go("wire", func(ctx context.Context) error {
		for {
			a, err := l.Accept()
			if err != nil {
				return nil
			}
			b, err := net.Dial("tcp", to)
			if err != nil {
				a.Close()
				continue
			}
			w.mu.Lock()
			cut := w.cut
			w.mu.Unlock()
			g.Go("end", func(ctx context.Context) error {
				<-ctx.Done()
				a.Close()
				b.Close()
				return nil
			})
			for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
				g.Go("way", func(ctx context.Context) error {
					_, _ = io.Copy(gate{way[1], cut}, way[0])
					select {
					case <-cut: // nobody learns of the end
					default:
						way[1].Close()
					}
					return nil
				})
			}
		}
	})
	t.Cleanup(func() {
		l.Close()
		g.Stop()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// gate swallows what is written once the wire is cut.
type gate struct {
	to  io.Writer
	cut chan struct{}
}

func (g gate) Write(p []byte) (int, error) {
	select {
	case <-g.cut:
		return len(p), nil
	default:
		return g.to.Write(p)
	}
}

// cutNow cuts the connections that there are; new ones get through.
func (w *wire) cutNow() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.cut)
	w.cut = make(chan struct{})
}
