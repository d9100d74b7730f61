package harness_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/boottime"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// A turn in a pod, and the next attempt in another pod, which has nothing but what is in the bucket.
func TestPod(t *testing.T) {
	p := newPod(t, "")
	p.w.Protocol, p.w.Command = "acp", []string{p.self, "agent"}
	p.begin()
	events, record := p.turn(1, "signal reviewer pr-7 look\ncall make\nsay done")
	if diff := cmp.Diff([]string{"sent other 1", "done"}, said(events)); diff != "" || record.Outcome != api.OutcomeDone {
		t.Errorf("the turn ended %s, and said (-want +got)\n%s", record.Outcome, diff)
	}
	saved := checkpointOf(p.saved(1))
	if code, exit := p.end(); code != 0 || !cmp.Equal(exit, &harnessv1.Exit{Reason: "stopped", Turn: true}, protocmp.Transform()) {
		t.Errorf("ended with %d, %v", code, exit)
	}
	p.m.mu.Lock()
	if len(p.m.signals) != 1 || p.m.signals[0].Agent != "reviewer" || string(p.m.signals[0].Payload) != "look" {
		t.Errorf("sent: %+v", p.m.signals)
	}
	p.m.mu.Unlock()

	for _, dir := range []string{p.w.State, p.w.Home, p.w.Workspace} {
		p.must(os.RemoveAll(dir))
	}
	p.away()
	p.id.Attempt++
	p.w.Id, p.w.StateLatest, p.w.StateSaved = p.id.String(), saved, saved
	p.bear("token-two")
	p.h = &handler{changed: make(chan struct{})}
	p.begin()
	if from, id := p.state(); from != "bucket" || id != saved {
		t.Errorf("the next attempt begins from %s %s, want the bucket's %s", from, id, saved)
	}
	events, _ = p.turn(2, "history")
	if got := said(events); len(got) != 1 || !strings.HasPrefix(got[0], "signal reviewer") {
		t.Errorf("the conversation does not go on: %q", got)
	}
	for _, dir := range []string{p.w.State, p.w.Home, p.w.Workspace} {
		if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", dir, fi.Mode(), err)
		}
	}
	if code, _ := p.end(); code != 0 {
		t.Errorf("ended with %d", code)
	}
	if left, err := filepath.Glob(filepath.Join(p.w.Temp, "*")); err != nil || len(left) > 0 {
		t.Errorf("left among temporary files: %v, %v", left, err)
	}
}

// The agent has the environment of its image and what is told it, and nothing else.
func TestEnvironmentOfAnImage(t *testing.T) {
	p := newPod(t, `env | sort`)
	p.w.Model = ""
	p.w.Env = []*harnessv1.EnvVar{{Name: "GRANTED", Value: "yes"}, {Name: "LANG", Value: "C"}}
	p.env = []string{"LANG=C.UTF-8", "HOME=/root", "GOPATH=/go", "MY_SERVICE_URL=here", "A=1", "A=2", "NAVE_OWN=1", "KUBERNETES_PORT=tcp://10.0.0.1:443",
		"DB_1_SERVICE_HOST=10.0.0.9", "DB_1_SERVICE_PORT=80", "DB_1_SERVICE_PORT_SQL=80", "DB_1_PORT=tcp://10.0.0.9:80", "DB_1_PORT_80_TCP=x", "DB_1_PORT_80_TCP_ADDR=10.0.0.9", "DB_1_PORTABLE=1", "DB_SERVICE_PORT=kept"}
	p.begin()
	p.door.Tell(p.id, orders(sig(1, 0, "")))
	p.records(1)
	var got []string
	for _, e := range p.await("all", func(e api.Event) bool { return e.Type == api.EventTurnDone }) {
		if e.Type == api.EventMessage {
			got = append(got, e.Text)
		}
	}
	i := slices.IndexFunc(got, func(s string) bool { return strings.HasPrefix(s, "NAVE_API=") })
	if i < 0 || !strings.HasPrefix(got[i], "NAVE_API="+p.w.Temp+"/nave-") {
		t.Fatalf("the local API is not among temporary files: %q", got)
	}
	want := []string{"A=2", "DB_1_PORTABLE=1", "DB_SERVICE_PORT=kept", "GOPATH=/go", "GRANTED=yes", "HOME=" + p.w.Home, "LANG=C", "MY_SERVICE_URL=here",
		"NAVE_AGENT=tester", got[i], "NAVE_CLUSTER=01JC", "NAVE_KEY=a key", "NAVE_ORGANIZATION=default", "NAVE_SESSION=" + p.w.Session,
		"NAVE_WORKLOAD=" + p.w.Id, "NAVE_WORKSPACE=" + p.w.Workspace, "PATH=/usr/bin:/bin:" + p.dir, "PWD=" + p.w.Workspace, "TMPDIR=" + p.w.Temp}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got)\n%s", diff)
	}
}

// peek looks at the harness and at itself as a program of the agent can.
const peek = `for f in environ maps mem; do head -c 1 /proc/$PPID/$f >/dev/null 2>&1 && echo "harness $f"; done; head -c 1 /proc/self/environ >/dev/null && echo own
sh -c 'head -c 1 /proc/'$$'/environ >/dev/null && echo "other"'`

// A program of the agent, which is of the same user, does not see the harness's memory and environment in a pod.
func TestHarnessIsHidden(t *testing.T) {
	said := func(r *rig) []string {
		r.door.Tell(r.id, orders(sig(1, 0, "")))
		r.records(1)
		return said(r.await("all", func(e api.Event) bool { return e.Type == api.EventTurnDone }))
	}
	p := newPod(t, peek)
	p.begin()
	if diff := cmp.Diff([]string{"own", "other"}, said(p.rig)); diff != "" {
		t.Errorf("in a pod (-want +got)\n%s", diff)
	}
	r := newRig(t, peek)
	r.begin()
	if got := said(r); !slices.Contains(got, "harness environ") {
		t.Errorf("a harness that does not hide itself is not seen either (%q): this test cannot fail", got)
	}
}

// One file says how the harness ended, and before that whether a turn had begun.
func TestExitFileInPlace(t *testing.T) {
	p := newPod(t, "cat; exec sleep 3600")
	before, err := os.Stat(p.w.ExitFile)
	p.must(err)
	p.begin()
	p.await("it is started", func(e api.Event) bool { return e.Type == api.EventState })
	if _, text := p.left(); text != "" {
		t.Errorf("before a turn the file holds %q", text)
	}
	p.door.Tell(p.id, orders(sig(1, 0, "")))
	p.await("the turn", func(e api.Event) bool { return e.Type == api.EventTurn })
	p.killed()
	if e, text := p.left(); !cmp.Equal(e, &harnessv1.Exit{Reason: "killed", Turn: true}, protocmp.Transform()) || len(text) > 64 {
		t.Errorf("after it was killed in a turn the file holds %q", text)
	}
	if after, err := os.Stat(p.w.ExitFile); err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was replaced: %v", err)
	}
	if left, err := filepath.Glob(p.w.ExitFile + "*"); err != nil || len(left) != 1 {
		t.Errorf("beside the file there is %v, %v", left, err)
	}
}

// What ends an attempt before its first turn is said within the bytes that are read of it.
func TestFailedStartInAPod(t *testing.T) {
	p := newPod(t, "true")
	p.w.InitScripts = initScript(`yes "$(head -c 900 /dev/zero | tr '\0' '"')" | head -n 10 >&2; printf 'the \033[31mlast\033[0m line\n' >&2; exit 3`)
	p.must(os.WriteFile(p.w.ExitFile, bytes.Repeat([]byte("x"), 5000), 0o666))
	p.begin()
	code, e := p.wait()
	if _, text := p.left(); code != 1 || e.Failure != "configuration" || e.Turn || !strings.HasPrefix(e.Reason, `init script "one": exit status 3`) || len(text) > 4096 || len(e.Reason) > 1024 ||
		!strings.HasSuffix(e.Reason, "\nthe [31mlast[0m line") {
		t.Errorf("ended with %d, %d bytes: %s", code, len(text), text)
	}
}

// Why the platform ends a pod the spoke knows, and the harness does not: it says how the turn ended and leaves the last word to the spoke. An
// end that the spoke asked for is the harness's to report.
func TestWhoSaysWhyAPodEnds(t *testing.T) {
	begin := func() *pod {
		p := newPod(t, `cat >/dev/null; trap 'echo ends; sleep 0.5; exit 0' TERM; echo works; while :; do sleep 0.1; done`)
		p.begin()
		p.door.Tell(p.id, orders(sig(1, 0, "")))
		p.message("works")
		return p
	}
	p := begin()
	if code, e := p.end(); code != 0 || !cmp.Equal(e, &harnessv1.Exit{Reason: "stopped", Turn: true}, protocmp.Transform()) {
		t.Errorf("ended by the platform with %d, %v", code, e)
	}
	events := p.await("the turn's end is saved", func(e api.Event) bool { return e.Type == api.EventSaved })
	want := []api.EventType{api.EventStarted, api.EventState, api.EventTurn, api.EventTurnDone, api.EventSaved}
	record := p.records(1)[0]
	if got := types(events); !slices.Equal(got, want) || record.Outcome != api.OutcomeCut || record.Text != "the workload was told to end" {
		t.Errorf("ended by the platform: events %v, want %v; the turn ended %s: %s", got, want, record.Outcome, record.Text)
	}

	p = begin()
	p.door.Tell(p.id, spoke.Orders{Signals: []api.Signal{sig(1, 0, "")}, Stop: true})
	events = p.await("the end", func(e api.Event) bool { return e.Type == api.EventEnded })
	if got := events[len(events)-1]; got.Text != "stopped" {
		t.Errorf("ended by the spoke: %q", got.Text)
	}
	if code, _ := p.wait(); code != 0 {
		t.Errorf("ended by the spoke with %d", code)
	}

	p = begin() // the spoke deletes the pod as well
	p.door.Tell(p.id, spoke.Orders{Signals: []api.Signal{sig(1, 0, "")}, Stop: true})
	p.message("ends")
	if code, _ := p.end(); code != 0 {
		t.Errorf("ended by the spoke, which deleted the pod, with %d", code)
	}
	p.await("the end", func(e api.Event) bool { return e.Type == api.EventEnded && e.Text == "stopped" })
}

// The spoke goes and comes back with the authority that it kept, and the token is renewed meanwhile.
func TestSpokeOfAPodRestarts(t *testing.T) {
	p := newPod(t, `cat >> all; echo "turn $(wc -l < all)"`)
	p.w.Command[2] = `cat > /dev/null; echo x >> all; echo "turn $(grep -c x all)"`
	p.begin()
	p.door.Tell(p.id, orders(sig(1, 0, "")))
	p.message("turn 1")
	p.saved(1)
	for n := uint64(2); n <= 3; n++ {
		p.away()
		p.restarted()
		if n == 3 {
			p.bear("token-renewed") // the former one is refused from here on
		}
		p.back()
		p.door.Lease(p.id, spoke.LeaseForever)
		p.door.Tell(p.id, orders(sig(n, 0, "")))
		p.saved(int(n))
	}
	p.message("turn 3")
	if got := len(p.records(3)); got != 3 {
		t.Errorf("%d turns", got)
	}
	p.mu.Lock()
	if p.asked != 1 {
		t.Errorf("it asked %d times what to run", p.asked)
	}
	p.mu.Unlock()
	// One with another authority is not believed: nothing is told it.
	p.away()
	p.must(os.Rename(filepath.Join(p.dir, "spoke"), filepath.Join(p.dir, "kept")))
	p.restarted()
	p.mu.Lock()
	p.handshakes, p.verified = 0, 0
	p.mu.Unlock()
	p.back()
	p.eventually("it comes and goes again", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.handshakes >= 3
	})
	p.away()
	p.mu.Lock()
	if p.verified != 0 {
		t.Errorf("a door of another authority was told %d tokens", p.verified)
	}
	p.mu.Unlock()
	p.must(os.RemoveAll(filepath.Join(p.dir, "spoke")))
	p.must(os.Rename(filepath.Join(p.dir, "kept"), filepath.Join(p.dir, "spoke")))
	p.restarted()
	p.back()
	p.door.Lease(p.id, spoke.LeaseForever)
	p.door.Tell(p.id, orders(sig(4, 0, "")))
	p.message("turn 4")
}

// The spoke goes away and the lease ends: nothing of the agent runs any more. With the next one it works again.
func TestLeaseOfAPodEnds(t *testing.T) {
	p := newPod(t, stubborn)
	p.start()
	p.back()
	until := boottime.Now() + 4*time.Second
	p.door.Lease(p.id, until)
	p.door.Tell(p.id, orders(sig(1, 0, "")))
	agents := p.agents()
	p.away()
	p.goneBy(until, agents)
	p.restarted()
	p.back()
	p.door.Lease(p.id, spoke.LeaseForever)
	p.door.Tell(p.id, orders(sig(1, 0, "")))
	p.cutThenDone("lease of the spoke ran out")
}

// A machine that vanishes says no goodbye: both sides notice within 20 s.
func TestVanishedPeersAreNoticed(t *testing.T) {
	p := newPod(t, `echo hello`)
	w := newWire(t, p.at)
	p.proxy = w.at
	p.back()
	p.start()
	p.door.Lease(p.id, spoke.LeaseForever)
	p.await("it is started", func(e api.Event) bool { return e.Type == api.EventState })
	w.cutNow()
	began := time.Now()
	p.eventually("the door notices", func() bool {
		p.h.mu.Lock()
		defer p.h.mu.Unlock()
		return p.h.gone == 1
	})
	p.door.Tell(p.id, orders(sig(1, 0, "")))
	p.message("hello") // by another connection
	if d := time.Since(began); d > 20*time.Second || d < 5*time.Second {
		t.Errorf("it took %v", d)
	}
}

// A harness works while others try to get in.
func TestPodBesideAttackers(t *testing.T) {
	p := newPod(t, `i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo "line $i"; done; sleep 0.2; echo end`)
	p.begin()
	p.door.Tell(p.id, orders(sig(1, 0, "")))
	p.message("line 200")
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(p.ca.PEM())
	var held []net.Conn
	defer func() {
		for _, c := range held {
			c.Close()
		}
	}()
	for i := range 1000 {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(2+i/50))}, Timeout: patience}
		conn, err := d.Dial("tcp", p.at)
		p.must(err)
		held = append(held, conn)
		switch i % 4 {
		case 1:
			_, _ = conn.Write([]byte("GET / HTTP/1.1\r\nHost: spoke\r\n\r\n"))
		case 2:
			_, _ = tls.Client(conn, &tls.Config{RootCAs: pool, ServerName: harnessv1.ServerName, NextProtos: []string{"h2"}}).Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
		}
	}
	p.message("end")
	p.saved(1)
	p.door.Tell(p.id, orders(sig(2, 0, "")))
	if rs := p.records(2); rs[1].Outcome != api.OutcomeDone {
		t.Errorf("the turn beside them: %+v", rs[1])
	}
	p.saved(2) // by a connection that was made meanwhile
}

// A harness of which the spoke does not know yet, or that comes before the spoke does, waits.
func TestDescriptionIsAwaited(t *testing.T) {
	p := newPod(t, "echo hello")
	p.env = []string{"NAVE_TEST_REFUSAL=10s"}
	calls := 0
	p.describe = func(ctx context.Context, id spoke.WorkloadID) (*harnessv1.Workload, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if calls++; calls == 2 {
			return nil, api.Errorf(api.CodeUnavailable, "the cache is not filled")
		}
		if calls > 3 {
			p.describe = nil
		}
		return nil, api.Errorf(api.CodeNotFound, "no such pod yet")
	}
	p.start() // the door is closed
	p.refused()
	p.back()
	p.door.Lease(p.id, spoke.LeaseForever)
	p.door.Tell(p.id, orders(sig(1, 0, "")))
	p.message("hello")
}

// refused waits until a connection to the door was refused, for the harness as for us.
func (p *pod) refused() {
	p.t.Helper()
	p.eventually("nobody listens", func() bool {
		c, err := net.Dial("tcp", p.at)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
}

func TestRefusedDescriptions(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*pod)
		says   string
	}{
		{"no such workload", func(p *pod) {
			p.describe = func(context.Context, spoke.WorkloadID) (*harnessv1.Workload, error) {
				return nil, api.Errorf(api.CodeNotFound, "there is no such workload")
			}
		}, "there is no such workload"},
		{"a token of another pod", func(p *pod) { p.tokens = map[string]spoke.WorkloadID{"token-one": {}} }, "permission denied"},
		{"an image without the program", func(p *pod) { p.w.Command = []string{"/nonexistent"} }, "/nonexistent"},
		{"a description that is none", func(p *pod) { p.w.TurnLimit = nil }, "turn limit"},
		{"a place that cannot be made", func(p *pod) { p.w.Home = "/proc/nave/home" }, "make directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPod(t, "true")
			p.env = []string{"NAVE_TEST_REFUSAL=300ms"}
			tt.change(p)
			p.begin()
			code, e := p.wait()
			if code != 1 || e.Failure != "configuration" || !strings.Contains(e.Reason, tt.says) || strings.Contains(e.Reason, "token-one") {
				t.Errorf("ended with %d, %v", code, e)
			}
		})
	}
}

// A harness that waits for its spoke ends when it is told to.
func TestWaitingPodEnds(t *testing.T) {
	p := newPod(t, "true")
	entered := make(chan struct{}, 10)
	p.describe = func(ctx context.Context, _ spoke.WorkloadID) (*harnessv1.Workload, error) {
		entered <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	p.begin()
	<-entered
	if code, e := p.end(); code != 0 || e.Reason != "stopped" || e.Turn {
		t.Errorf("ended with %d, %v", code, e)
	}
}

func TestVariablesOfAPod(t *testing.T) {
	for name, value := range map[string]string{"NAVE_WORKLOAD": "", "NAVE_SPOKE": "spoke", "NAVE_AUTHORITY": "x", "NAVE_TOKEN_FILE": ""} {
		p := newPod(t, "true")
		p.env = []string{name + "=" + value}
		p.start()
		if code, e := p.wait(); code != 2 || e.Failure != "configuration" || !strings.Contains(e.Reason, name) {
			t.Errorf("%s: ended with %d, %v", name, code, e)
		}
	}
}

// Process 1 of a container inherits every orphan, of whatever parents; after a turn nothing of them is left. It ends by SIGTERM,
// which by default does nothing to a process 1.
func TestFirstProcess(t *testing.T) {
	p := newPod(t, `for i in 1 2 3; do sh -c 'sleep 3600 & (setsid sh -c "sleep 3600 & true" &) ; true'; sh -c 'sh -c "exit 3" & sh -c "true &"'; done
until ! cat /proc/[0-9]*/stat 2>/dev/null | grep -q ') Z '; do sleep 0.02; done; touch count; echo "no zombies"`)
	p.w.Command[2] = strings.Replace(p.w.Command[2], "for i", "cat > /dev/null; [ -e count ] && { cat /proc/[0-9]*/stat | cut -d' ' -f1-4; echo listed; exit 0; }; for i", 1)
	p.first = true
	p.begin()
	p.door.Tell(p.id, orders(sig(1, 0, "")))
	p.message("no zombies") // also while the turn runs
	p.records(1)
	p.door.Tell(p.id, orders(sig(2, 0, "")))
	p.message("listed")
	var found []string
	for _, e := range p.await("all", func(e api.Event) bool { return e.Text == "listed" }) {
		if e.Type == api.EventMessage && strings.Contains(e.Text, "(") {
			found = append(found, e.Text)
		}
	}
	for _, line := range found {
		if strings.Contains(line, "(sleep)") || strings.Contains(line, " Z ") {
			t.Errorf("left after the turn: %s", line)
		}
	}
	if len(found) < 2 || len(found) > 6 || !strings.HasPrefix(found[0], "1 (") {
		t.Errorf("processes in the second turn: %q", found)
	}
	if code, e := p.end(); code != 0 || e.Reason != "stopped" || !e.Turn {
		t.Errorf("ended with %d, %v", code, e)
	}
	if state := p.cmd.ProcessState.Sys().(syscall.WaitStatus); state.Signaled() {
		t.Errorf("it was killed: %v", state)
	}
}
