package harness_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/boottime"
	"github.com/nave-dev/nave/internal/run"
)

// stubborn is an agent that ignores SIGTERM, has a child in a session of its own, and says both numbers. When it is run
// again it is done at once.
const stubborn = `trap '' TERM; [ -f again ] && exit 0; touch again; setsid sleep 3600 & echo $!; echo $$; exec sleep 3600`

// agents waits for the numbers of a stubborn agent and its child.
func (r *rig) agents() []int {
	r.t.Helper()
	var pids []int
	r.await("the agent's number", func(e api.Event) bool {
		if e.Type == api.EventMessage {
			pid, err := strconv.Atoi(e.Text)
			if err != nil {
				r.t.Fatal(err)
			}
			pids = append(pids, pid)
		}
		return len(pids) == 2
	})
	if !alive(pids...) {
		r.t.Fatalf("the agent %v does not run", pids)
	}
	return pids
}

// alive reports whether one of the processes runs.
func alive(pids ...int) bool {
	for _, pid := range pids {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err == nil && !strings.Contains(string(b), ") Z ") {
			return true
		}
	}
	return false
}

// goneBy asserts that the agent is gone when its lease is over, by the boot-time clock.
func (r *rig) goneBy(until time.Duration, pids []int) {
	r.t.Helper()
	r.eventually("the lease is over or the agent gone", func() bool { return !alive(pids...) || boottime.Now() >= until })
	if alive(pids...) {
		r.t.Fatalf("the agent runs when its lease is over")
	}
}

// cutThenDone asserts that a turn was cut for a reason and the next one done.
func (r *rig) cutThenDone(reason string) {
	r.t.Helper()
	records := r.records(2)
	if records[0].Outcome != api.OutcomeCut || !strings.Contains(records[0].Text, reason) || records[1].Outcome != api.OutcomeDone {
		r.t.Fatalf("turn records %+v, want one cut because %q, one done", records, reason)
	}
}

func TestNothingBeginsWithoutALease(t *testing.T) {
	r := newRig(t, `exit 0`)
	r.w.InitScripts = initScript(`touch "$HOME/begun"`)
	r.beginWithout()
	r.door.Tell(r.id, orders(sig(1, 0, "go")))
	r.eventually("it asked some times", func() bool { at, _ := r.door.Asked(r.id); return at > 0 })
	first, _ := r.door.Asked(r.id)
	r.eventually("it asked again", func() bool { at, _ := r.door.Asked(r.id); return at > first })
	if _, err := os.Stat(filepath.Join(r.w.Home, "begun")); err == nil {
		t.Fatal("an init script ran without a lease")
	}
	r.door.Lease(r.id, boottime.Now()+time.Hour)
	if record := r.records(1)[0]; record.Outcome != api.OutcomeDone {
		t.Fatalf("turn record %+v", record)
	}
}

// The spoke dies: the agent is gone when the lease is over. It comes back: the turn runs again.
func TestAgentEndsWithTheLeaseOfADeadSpoke(t *testing.T) {
	r := newRig(t, stubborn)
	r.beginWithout()
	until := boottime.Now() + 6*time.Second
	r.door.Lease(r.id, until)
	r.door.Tell(r.id, orders(sig(1, 0, "go")))
	pids := r.agents()
	r.away()
	r.eventually("half of the lease is over", func() bool { return boottime.Now() >= until-3*time.Second })
	if !alive(pids...) {
		t.Fatal("the agent was ended long before the end of the lease")
	}
	r.goneBy(until, pids)
	r.door.Lease(r.id, boottime.Now()+time.Hour)
	r.back()
	r.cutThenDone("lease of the spoke ran out")
}

// The spoke is away for less than the lease, again and again: the agent goes on.
func TestAgentOutlivesAShortLossOfTheSpoke(t *testing.T) {
	r := newRig(t, stubborn)
	r.beginWithout()
	prolong := func() time.Duration {
		until := boottime.Now() + 4*time.Second
		r.door.Lease(r.id, until)
		return until
	}
	until := prolong()
	r.door.Tell(r.id, orders(sig(1, 0, "go")))
	pids := r.agents()
	begin := boottime.Now()
	for boottime.Now() < begin+5*time.Second { // longer than any of the leases
		r.away()
		r.eventually("a part of the lease is over", func() bool { return boottime.Now() >= until-3*time.Second })
		until = prolong()
		r.back()
		r.eventually("it was told of the new lease", func() bool { _, told := r.door.Asked(r.id); return told == until })
	}
	if !alive(pids[0]) || !alive(pids[1]) {
		t.Fatal("the agent did not outlive the losses")
	}
	if code, _ := r.end(); code != 0 {
		t.Errorf("ended with %d", code)
	}
}

// A harness that was frozen beyond its lease kills its agent before anything else, even when the lease was prolonged meanwhile.
func TestFrozenHarness(t *testing.T) {
	for _, tt := range []struct {
		name      string
		prolonged bool
	}{{"beyond its lease", false}, {"and prolonged meanwhile", true}} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, stubborn)
			r.beginWithout()
			until := boottime.Now() + 2*time.Second
			r.door.Lease(r.id, until)
			r.door.Tell(r.id, orders(sig(1, 0, "go")))
			pids := r.agents()
			if err := r.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			if tt.prolonged {
				r.door.Lease(r.id, boottime.Now()+time.Hour)
			}
			r.eventually("the lease is over", func() bool { return boottime.Now() > until })
			if !alive(pids...) {
				t.Fatal("the agent ended by itself")
			}
			if err := r.cmd.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			back := boottime.Now()
			r.eventually("the agent is gone", func() bool { return !alive(pids...) })
			if took := boottime.Now() - back; took > time.Second {
				t.Errorf("the agent lived for %v after the harness woke up", took)
			}
			r.door.Lease(r.id, boottime.Now()+time.Hour)
			r.cutThenDone("lease of the spoke ran out")
		})
	}
}

// The machine slept, which only the boot-time clock tells: the lease counts no more, though it would last.
func TestClockThatJumps(t *testing.T) {
	r := newRig(t, stubborn)
	file := filepath.Join(r.dir, "clock")
	ahead := func(d time.Duration) {
		tmp := file + ".new"
		if err := errors.Join(os.WriteFile(tmp, []byte(d.String()), 0o600), os.Rename(tmp, file)); err != nil {
			t.Fatal(err)
		}
	}
	ahead(0)
	r.env = []string{"NAVE_TEST_CLOCK=" + file}
	r.beginWithout()
	r.door.Lease(r.id, boottime.Now()+time.Hour)
	r.door.Tell(r.id, orders(sig(1, 0, "go")))
	pids := r.agents()
	ahead(4 * time.Second)
	asked, _ := r.door.Asked(r.id)
	r.eventually("it asked again", func() bool { at, _ := r.door.Asked(r.id); return at > asked })
	if !alive(pids...) {
		t.Fatal("a short jump of the clock ended the agent")
	}
	ahead(10 * time.Second)
	r.cutThenDone("the harness stood still for ") // the jump and what is left of a tick: 6s or 7s
	if alive(pids...) {
		t.Fatal("the agent outlived the jump")
	}
}

// Answers that are late prolong nothing: the agent is gone when the spoke's word runs out.
func TestLateAnswersProlongNothing(t *testing.T) {
	r := newRig(t, stubborn)
	r.socket = filepath.Join(r.dir, "real.sock")
	slow(t, r.w.Socket, r.socket, 700*time.Millisecond)
	r.beginWithout()
	until := boottime.Now() + 6*time.Second
	r.door.Lease(r.id, until)
	r.door.Tell(r.id, orders(sig(1, 0, "go")))
	r.goneBy(until, r.agents())
	r.door.Lease(r.id, boottime.Now()+time.Hour)
	r.cutThenDone("lease")
}

// slow passes connections on; what comes back is late.
func slow(t *testing.T, from, to string, delay time.Duration) {
	l, err := net.Listen("unix", from)
	if err != nil {
		t.Fatal(err)
	}
	g := run.NewGroup(t.Context())
	var mu sync.Mutex
	open := []io.Closer{l}
	t.Cleanup(func() {
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		g.Stop()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
	g.Go("accept", func(ctx context.Context) error {
		for {
			in, err := l.Accept()
			if err != nil {
				return nil
			}
			out, err := net.Dial("unix", to)
			if err != nil { // the door is not open yet
				in.Close()
				continue
			}
			mu.Lock()
			open = append(open, in, out)
			mu.Unlock()
			g.Go("forth", func(context.Context) error { _, _ = io.Copy(out, in); out.Close(); return nil })
			g.Go("back", func(ctx context.Context) error { late(g, out, in, delay); return nil })
		}
	})
}

type parcel struct {
	due  time.Time
	data []byte
}

// late copies with a delay.
func late(g *run.Group, from, to net.Conn, delay time.Duration) {
	defer to.Close()
	parcels := make(chan parcel, 1024)
	g.Go("read", func(context.Context) error {
		defer close(parcels)
		for {
			b := make([]byte, 32<<10)
			n, err := from.Read(b)
			if n > 0 {
				parcels <- parcel{time.Now().Add(delay), b[:n]}
			}
			if err != nil {
				return nil
			}
		}
	})
	for p := range parcels {
		<-time.After(time.Until(p.due))
		if _, err := to.Write(p.data); err != nil {
			from.Close()
		}
	}
}

// A lease that is taken away counts at the next request.
func TestLeaseThatIsTakenAway(t *testing.T) {
	r := newRig(t, stubborn)
	r.begin()
	r.door.Tell(r.id, orders(sig(1, 0, "go")))
	pids := r.agents()
	r.door.Lease(r.id, 0)
	r.eventually("the agent is gone", func() bool { return !alive(pids...) })
	r.door.Lease(r.id, boottime.Now()+time.Hour)
	r.cutThenDone("gives no lease")
}

// Init scripts are the agent's: one that was cut by the end of the lease is begun anew under the next one.
func TestInitScriptIsBegunAnewAfterALapse(t *testing.T) {
	r := newRig(t, `echo went on`)
	r.w.InitScripts = initScript(`[ -f again ] && exit 0; touch again; setsid sleep 3600 & echo $!; echo $$; exec sleep 3600`)
	r.beginWithout()
	until := boottime.Now() + 6*time.Second
	r.door.Lease(r.id, until)
	r.door.Tell(r.id, orders(sig(1, 0, "go")))
	r.goneBy(until, r.agents())
	r.door.Lease(r.id, boottime.Now()+time.Hour)
	r.message("went on")
	if record := r.records(1)[0]; record.Outcome != api.OutcomeDone {
		t.Errorf("turn record %+v", record)
	}
}

// Who is told to end and does so in order is not done.
func TestOrderlyEndOfACutTurnConsumesNothing(t *testing.T) {
	r := newRig(t, `trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done`)
	r.begin()
	r.door.Tell(r.id, orders(sig(1, 0, "go")))
	r.message("ready")
	r.end()
	if record := r.records(1)[0]; record.Outcome != api.OutcomeCut {
		t.Errorf("turn record %+v", record)
	}
}
