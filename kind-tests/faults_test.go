//go:build kindtests

package kindtests

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/internal/testcluster"
)

// TestFaultsOfNodesAndLinks does to sessions in the middle of a turn what the world does. The agents tell a witness on the bridge of each act,
// who judges without looking at Nave: of one session no workload acts after another one has begun to; each signal is done once, and what
// began it more often says why. No fault is the agents' own, so that none counts as a failed delivery: they have one.
//
// The spoke of the one cluster lives in it, that of the other on the host.
func TestFaultsOfNodesAndLinks(t *testing.T) {
	ctx := limited(t)
	w := &witnessed{federated: federateOn(ctx, t, testcluster.Config{Clusters: 2, NodeGrace: 12 * time.Second}, "--lease", "4s"), sessions: map[string]string{}}
	w.witness = testify(t, w.bed.HubAddress())
	inside, outside := w.bed.Clusters[0], w.bed.Clusters[1]
	w.inside(inside)
	w.outside(outside)
	w.live(inside, outside)
	w.spokeReady(inside)
	w.scenarios(t, []faultGroup{
		{"spoke in the cluster", inside, []scenario{
			{"adopted", "120s", (*witnessed).adopted},
			{"cut", "120s", (*witnessed).cut},
			{"lapsed", "8s", (*witnessed).lapsed},
			{"rebooted", "120s", (*witnessed).rebooted},
		}},
		{"spoke outside", outside, []scenario{
			{"deleted", "120s", (*witnessed).deleted},
			{"evicted", "120s", (*witnessed).evicted},
			{"drained", "120s", (*witnessed).drained},
			{"frozen", "8s", (*witnessed).frozen},
			{"containerd", "120s", (*witnessed).containerd},
			{"kubelet", "120s", (*witnessed).kubelet},
			{"lost", "8s", (*witnessed).lost},
		}},
	})
}

// scenario is something that is done to the agent of its name in a turn.
type scenario struct {
	agent     string
	stopAfter string
	do        func(*witnessed, *testcluster.Cluster)
}

// faultGroup are scenarios of one cluster, which happen one after the other.
type faultGroup struct {
	name string
	in   *testcluster.Cluster
	all  []scenario
}

// scenarios lets every agent do a first turn, and then does to each in its second what is to be done. Groups happen side by side.
func (w *witnessed) scenarios(t *testing.T, groups []faultGroup) {
	for _, g := range groups {
		for _, s := range g.all {
			w.applyWitnessed(g.in, s.agent, s.stopAfter, nil)
			w.sessions[s.agent], _ = w.signal(s.agent, s.agent, "first")
		}
	}
	w.release("first")
	for _, g := range groups {
		for _, s := range g.all {
			w.sleeps(g.in, w.sessions[s.agent]) // its state is saved
		}
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			for _, s := range g.all {
				t.Run(s.agent, func(t *testing.T) {
					began := time.Now()
					s.do(w.in(t), g.in)
					t.Logf("%s: the scenario took %v", s.agent, time.Since(began).Round(time.Millisecond))
				})
			}
		})
	}
}

// witnessed is a federation whose agents tell a witness what they do.
type witnessed struct {
	*federated
	*witness
	sessions map[string]string // by agent
}

func (w *witnessed) in(t testing.TB) *witnessed {
	c := *w
	c.federated = w.at(t)
	return &c
}

// witness hears every act.
type witness struct {
	address string // host and port, as nc takes them

	mu       sync.Mutex
	heard    []act
	released map[string]bool
}

// act is something that an agent did.
type act struct {
	at        time.Time
	who, what string // workload, and signal as agent/signal
	turn      int
	done      bool
}

// testify serves a witness until the test ends.
func testify(t testing.TB, at netip.Addr) *witness {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(at, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	x := &witness{address: strings.ReplaceAll(l.Addr().String(), ":", " "), released: map[string]bool{}}
	server := &http.Server{Handler: x}
	g := run.NewGroup(context.Background())
	g.Go("serve", func(context.Context) error {
		_ = server.Serve(l) // until it is closed
		return nil
	})
	t.Cleanup(func() {
		_ = server.Close()
		_ = g.Wait()
	})
	return x
}

// ServeHTTP takes an act and says whether to go on.
func (x *witness) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	turn, _ := strconv.Atoi(q.Get("turn"))
	a := act{time.Now(), q.Get("who"), q.Get("agent") + "/" + q.Get("what"), turn, r.URL.Path == "/done"}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.heard = append(x.heard, a)
	answer := "on"
	if x.released[q.Get("what")] || x.released[a.what] {
		answer = "end"
	}
	fmt.Fprintln(out, answer)
}

// of are the acts for a signal, or for all of an agent.
func (x *witness) of(what string) (out []act) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, a := range x.heard {
		if a.what == what || strings.HasPrefix(a.what, what+"/") {
			out = append(out, a)
		}
	}
	return out
}

// let makes turns end: those of a signal, or of one agent's.
func (x *witness) let(what string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.released[what] = true
}

// release makes the turns of a signal end.
func (w *witnessed) release(signal string) {
	if signal == "first" {
		w.let(signal)
		return
	}
	name := w.t.Name()
	w.let(name[strings.LastIndexByte(name, '/')+1:] + "/" + signal)
}

// witnessedScript acts five times a second until the witness lets it end, and goes on when the witness does not answer.
const witnessedScript = `set -eu
in=$(cat)
read -r who < /etc/hostname
n=0; if [ -e "$HOME/turns" ]; then n=$(cat "$HOME/turns"); fi
n=$((n+1)); echo $n > "$HOME/turns"
what=$(echo "$in" | sed -n 's/.*"payload":"\([a-z]*\)".*/\1/p')
tell() { printf 'GET /%%s?agent=%[2]s&who=%%s&what=%%s&turn=%%s HTTP/1.0\r\n\r\n' "$1" "$who" "$what" "$n" | nc -w 2 %[1]s | tail -n 1; }
echo "turn $n $what"
until [ "$(tell act)" = end ]; do sleep 0.2; done
until [ "$(tell done)" = end ]; do sleep 0.2; done
`

// applyWitnessed defines an agent that tells the witness.
func (w *witnessed) applyWitnessed(c *testcluster.Cluster, agent, stopAfter string, more map[string]any) {
	w.t.Helper()
	w.define(agent, "PlacementPolicy", map[string]any{"requirements": []any{map[string]any{"key": "cloud", "operator": "In", "values": []string{c.Name}}}})
	spec := map[string]any{"placement_policy": agent, "max_deliveries": 1, "stop_after": stopAfter,
		"harness": map[string]any{"protocol": "command", "command": []string{"/bin/sh", "-c", fmt.Sprintf(witnessedScript, w.address, agent)}}}
	maps.Copy(spec, more)
	w.apply(agent, imageOfAgents, "small", spec)
}

// begin sends a signal and waits until its turn acts.
func (w *witnessed) begin(agent, signal string) {
	w.t.Helper()
	session, _ := w.signal(agent, agent, signal)
	if session != w.sessions[agent] {
		w.t.Fatalf("the signal woke session %s, not %s", session, w.sessions[agent])
	}
	w.await("the turn acts", func() (bool, error) {
		return len(w.of(agent+"/"+signal)) > 0, fmt.Errorf("the log:\n%s", w.log(session))
	})
}

// acts waits for so many more acts of an agent.
func (w *witnessed) acts(agent string, n int) {
	w.t.Helper()
	before := len(w.of(agent))
	w.await(fmt.Sprintf("%d more acts", n), func() (bool, error) { return len(w.of(agent)) >= before+n, nil })
}

// anotherActs waits until another workload acts than the one that did.
func (w *witnessed) anotherActs(agent string, began time.Time) {
	w.t.Helper()
	was := w.of(agent)
	former := was[len(was)-1]
	w.await("another workload acts", func() (bool, error) {
		is := w.of(agent)
		return is[len(is)-1].who != former.who, fmt.Errorf("the log:\n%s", w.log(w.sessions[agent]))
	})
	is := w.of(agent)
	last, first := was[len(was)-1], is[len(is)-1]
	for _, a := range is {
		if a.who == former.who {
			last = a
		}
	}
	for _, a := range slices.Backward(is) {
		if a.who == first.who {
			first = a
		}
	}
	w.t.Logf("%s: %s acted last %v after the fault began, the next one first after %v", agent, former.who,
		last.at.Sub(began).Round(time.Millisecond), first.at.Sub(began).Round(time.Millisecond))
}

// settled waits until a signal is done and the session rests.
func (w *witnessed) settled(agent, signal string, minimum int) {
	w.t.Helper()
	w.await("the signal is done", func() (bool, error) {
		n := 0
		for _, a := range w.of(agent + "/" + signal) {
			if a.done {
				n++
			}
		}
		return n >= minimum, fmt.Errorf("the log:\n%s", w.log(w.sessions[agent]))
	})
	w.phase(w.sessions[agent], api.PhaseDormant)
}

// judge looks at all that a session did: turns are the signals of its turns, in the order of the log. Each turn begins from the state of
// the last one that ended, or from what one that was cut left.
func (w *witnessed) judge(agent string, turns ...string) {
	w.t.Helper()
	heard := w.of(agent)
	var order []string
	done := map[string]int{}
	begun := map[string]int{}
	for i, a := range heard {
		if len(order) == 0 || order[len(order)-1] != a.who {
			if slices.Contains(order, a.who) {
				w.t.Errorf("%s acted %v after another workload of its session had begun to", a.who, a.at.Sub(heard[i-1].at))
			}
			order = append(order, a.who)
			begun[a.what]++
		} else if heard[i-1].what != a.what {
			begun[a.what]++
		}
		if a.done {
			done[a.what]++
		}
	}
	log := w.log(w.sessions[agent])
	for what, n := range done {
		if n != 1 {
			w.t.Errorf("%s was done %d times:\n%s", what, n, log)
		}
	}
	reasons := 0
	for _, e := range log.of(api.EventTurnDone) {
		if e.GetOutcome() != string(api.OutcomeDone) {
			if reasons++; e.GetText() == "" || e.GetOutcome() != string(api.OutcomeCut) {
				w.t.Errorf("a turn ended as %s for the reason %q", e.GetOutcome(), e.GetText())
			}
			w.t.Logf("%s: a turn was cut: %s", agent, e.GetText())
		}
	}
	again := 0
	for _, n := range begun {
		again += n - 1
	}
	if again != reasons {
		w.t.Errorf("signals were begun %d times more than once, and %d turns say why:\n%s", again, reasons, log)
	}
	if n := len(log.of(api.EventDead)); n != 0 {
		w.t.Errorf("a signal is a dead letter:\n%s", log)
	}
	var said []string
	for i, m := range log.messages() {
		var n int
		var what string
		if _, err := fmt.Sscanf(m, "turn %d %s", &n, &what); err != nil {
			w.t.Errorf("the agent said %q: %v", m, err)
		}
		if again := i > 0 && said[i-1] == what; n != i+1 && !(again && n >= 2 && n <= i) {
			w.t.Errorf("turn %d, for %s, was the number %d to the agent's state:\n%s", i+1, what, n, log)
		}
		said = append(said, what)
	}
	if !slices.Equal(said, turns) {
		w.t.Errorf("there were turns for %q, want %q:\n%s", said, turns, log)
	}
	w.t.Logf("%s: %d acts by %d workloads, signals done %v", agent, len(heard), len(order), done)
}

// tookAway checks that the log says why the last attempt that is over ended, and that nobody is blamed.
func (w *witnessed) tookAway(agent, why string) {
	w.t.Helper()
	log := w.log(w.sessions[agent])
	all := log.of(api.EventEnded)
	if len(all) == 0 {
		w.t.Fatalf("no attempt has ended:\n%s", log)
	}
	last := all[len(all)-1]
	w.t.Logf("%s: the attempt ended: %s", agent, last.GetText())
	if !strings.HasPrefix(last.GetText(), why) || last.GetAttributes()[api.AttrFailure] != "" {
		w.t.Errorf("the attempt ended for the reason %q, a failed start %q; want %q:\n%s", last.GetText(), last.GetAttributes()[api.AttrFailure], why, log)
	}
}

// same checks that the session's pod and its container are those of before.
func (w *witnessed) same(c *testcluster.Cluster, was corev1.Pod) {
	w.t.Helper()
	is, err := c.Client.CoreV1().Pods(was.Namespace).Get(w.ctx, was.Name, metav1.GetOptions{})
	w.must(err)
	if is.UID != was.UID || containerOf(is) != containerOf(&was) {
		w.t.Errorf("the pod %s %v became %s %v", was.UID, containerOf(&was), is.UID, containerOf(is))
	}
}

// adopted deletes the spoke's pod in a turn: the next spoke goes on with the pod that there is.
func (w *witnessed) adopted(c *testcluster.Cluster) {
	w.begin("adopted", "second")
	was, former := w.onlyPod(c, w.sessions["adopted"]), w.spokeReady(c)
	began := time.Now()
	w.must(c.Client.CoreV1().Pods(namespaceOfSpoke).Delete(w.ctx, spokePod, metav1.DeleteOptions{}))
	w.await("another pod of the spoke", func() (bool, error) {
		pod, err := c.Client.CoreV1().Pods(namespaceOfSpoke).Get(w.ctx, spokePod, metav1.GetOptions{})
		return err == nil && pod.UID != former.UID, nil
	})
	w.spokeReady(c)
	ready := time.Now()
	w.t.Logf("adopted: another spoke is ready after %v", ready.Sub(began).Round(time.Millisecond))
	w.acts("adopted", 10)
	w.same(c, was)
	w.release("second")
	w.await("the next spoke hears of the turn's end", func() (bool, error) { return len(w.log(w.sessions["adopted"]).outcomes()) == 2, nil })
	took := time.Since(ready)
	w.t.Logf("adopted: the turn's end is heard %v after that", took.Round(time.Millisecond))
	if took > 12*time.Second {
		w.t.Errorf("the harness found the next spoke %v after that was ready", took)
	}
	w.settled("adopted", "second", 1)
	w.judge("adopted", "first", "second")
}

// cut cuts the link for half a minute: nothing stops.
func (w *witnessed) cut(c *testcluster.Cluster) {
	w.begin("cut", "second")
	was := w.onlyPod(c, w.sessions["cut"])
	w.must(c.Cut(w.ctx))
	began := time.Now()
	w.await("half a minute", func() (bool, error) { return time.Since(began) > 30*time.Second, nil })
	w.must(c.Heal(w.ctx))
	w.acts("cut", 5)
	w.t.Logf("cut: the agent is heard %v after the link is back", (time.Since(began) - 30*time.Second).Round(time.Millisecond))
	w.same(c, was)
	w.release("second")
	w.settled("cut", "second", 1)
	w.judge("cut", "first", "second")
}

// rebooted takes the power of the node, with spoke and session, in a turn.
func (w *witnessed) rebooted(c *testcluster.Cluster) {
	w.begin("rebooted", "second")
	began := time.Now()
	w.must(c.RestartNode(w.ctx))
	w.t.Logf("rebooted: the node is ready after %v", time.Since(began).Round(time.Millisecond))
	w.anotherActs("rebooted", began)
	w.release("second")
	w.settled("rebooted", "second", 1)
	w.judge("rebooted", "first", "second", "second")
}

// deleted deletes the session's pod in a turn.
func (w *witnessed) deleted(c *testcluster.Cluster) {
	w.begin("deleted", "second")
	pod := w.onlyPod(c, w.sessions["deleted"])
	began := time.Now()
	w.must(c.Client.CoreV1().Pods(namespaceOfOrg).Delete(w.ctx, pod.Name, metav1.DeleteOptions{}))
	w.anotherActs("deleted", began)
	w.tookAway("deleted", "its pod was deleted")
	w.release("second")
	w.settled("deleted", "second", 1)
	w.judge("deleted", "first", "second", "second")
}

// evicted evicts the session's pod while its turn is short still.
func (w *witnessed) evicted(c *testcluster.Cluster) {
	w.begin("evicted", "second")
	pod := w.onlyPod(c, w.sessions["evicted"])
	began := time.Now()
	w.must(c.Client.CoreV1().Pods(namespaceOfOrg).EvictV1(w.ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod.Name}}))
	w.anotherActs("evicted", began)
	w.tookAway("evicted", "evicted: ")
	w.release("second")
	w.settled("evicted", "second", 1)
	w.judge("evicted", "first", "second", "second")
}

// kubelet kills the kubelet for a minute: long enough that the cluster calls the pod unknown. The harness is heard, so nothing is done.
func (w *witnessed) kubelet(c *testcluster.Cluster) {
	w.begin("kubelet", "second")
	was := w.onlyPod(c, w.sessions["kubelet"])
	w.must(c.KillKubelet())
	began := time.Now()
	w.await("a minute", func() (bool, error) {
		return time.Since(began) > waitLimit-3*time.Second, nil
	})
	w.acts("kubelet", 5)
	w.must(c.StartKubelet(w.ctx))
	w.acts("kubelet", 5)
	w.same(c, was)
	w.release("second")
	w.settled("kubelet", "second", 1)
	w.judge("kubelet", "first", "second")
}

// containerd kills containerd and starts it again.
func (w *witnessed) containerd(c *testcluster.Cluster) {
	w.begin("containerd", "second")
	was := w.onlyPod(c, w.sessions["containerd"])
	w.must(c.KillContainerd())
	w.acts("containerd", 25)
	w.must(c.StartContainerd(w.ctx))
	w.acts("containerd", 25)
	w.same(c, was)
	w.release("second")
	w.settled("containerd", "second", 1)
	w.judge("containerd", "first", "second")
}
