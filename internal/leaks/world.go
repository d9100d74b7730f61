package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
	"github.com/nave-dev/nave/internal/federation"
	"github.com/nave-dev/nave/internal/run"
)

// The clusters: work has the sessions, cut has a link that this program cuts, killed has the spoke that is killed.
const (
	work   = "work"
	cut    = "cut"
	killed = "killed"
)

const agentName = "short"

// world is the federation that is looked at.
type world struct {
	*federation.Federation
	o      options
	show   io.Writer
	client *client.Client
	hub    *federation.Process
	spoke  *federation.Process // of work
	ports  map[string]string   // where hub and spoke serve their profiles
	link   *cutter
	made   int        // sessions, so that each has its own key
	held   *run.Group // goroutines of a planted leak

	mu   sync.Mutex
	kept [][]byte // guarded by mu; bytes of a planted leak
}

// newWorld starts hub and spoke, enrolls the other two clusters, and applies the agent.
func newWorld(ctx context.Context, o options, dir string, show io.Writer) (*world, error) {
	temp := filepath.Join(dir, "tmp")
	// One byte in 512 is looked at by the profiles of the heap, so that a few KiB are seen.
	if err := errors.Join(os.Mkdir(temp, 0o700), os.Setenv("TMPDIR", temp), os.Setenv("GODEBUG", "memprofilerate=512")); err != nil {
		return nil, err
	}
	fed, err := federation.New(federation.Config{Bin: o.bin, Dir: dir})
	if err != nil {
		return nil, err
	}
	w := &world{Federation: fed, o: o, show: show, ports: map[string]string{}, held: run.NewGroup(ctx)}
	for _, name := range []string{"hub", work} {
		if w.ports[name], err = freePort(); err != nil {
			return w, err
		}
	}
	if err := w.up(ctx); err != nil {
		return w, err
	}
	for _, name := range []string{work, cut, killed} {
		if err := w.Join(ctx, name, "is="+name); err != nil {
			return w, err
		}
	}
	if w.spoke, err = w.StartSpoke(work, "--flavor", fmt.Sprintf("small=%d", 2*o.at), "--profiling-listen", w.ports[work], "--tidy-every", "2s"); err != nil {
		return w, err
	}
	for _, name := range []string{cut, killed} {
		p, err := w.StartSpoke(name)
		if err != nil {
			return w, err
		}
		if err := w.live(ctx, name); err != nil {
			return w, err
		}
		if err := p.End(ctx); err != nil {
			return w, err
		}
		if _, err := w.Nave(ctx, "clusters", "cordon", name); err != nil { // sessions placed there would wait for a spoke that has ended
			return w, err
		}
	}
	if err := w.live(ctx, work); err != nil {
		return w, err
	}
	if w.link, err = newCutter(w.Path(cut)); err != nil {
		return w, err
	}
	return w, w.apply(ctx)
}

// freePort is an address that was free a moment ago.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// up starts the hub, for the first time or again.
func (w *world) up(ctx context.Context) (err error) {
	return w.step(ctx, "hub", func() error {
		if w.hub, err = w.StartHub(ctx, "--lease", "3s", "--profiling-listen", w.ports["hub"]); err != nil {
			return err
		}
		if w.client != nil {
			return w.live(ctx, work)
		}
		w.client, err = w.Client()
		return err
	})
}

func (w *world) close() {
	w.held.Stop()
	_ = w.held.Wait() // what was planted ends without an error
	if w.link != nil {
		w.link.close()
	}
	if w.client != nil {
		w.client.Close()
	}
}

// apply defines the agent: one that reads its signal, changes its state and ends.
func (w *world) apply(ctx context.Context) error {
	for name, doc := range map[string]map[string]any{
		"environment": {"apiVersion": "nave.dev/v1", "kind": "Environment", "metadata": map[string]any{"name": "local"}, "spec": map[string]any{"flavor": "small"}},
		"agent": {"apiVersion": "nave.dev/v1", "kind": "Agent", "metadata": map[string]any{"name": agentName},
			"spec": map[string]any{"environment": "local", "harness": map[string]any{"protocol": "command", "command": []string{"/bin/sh", "-c", `cat >"$HOME/state"`}},
				"idle_timeout": "1s", "turn_limit": "30s", "stop_after": "20s"}},
	} {
		b, err := json.Marshal(doc)
		if err != nil {
			return err
		}
		if err := os.WriteFile(w.Path(name+".json"), b, 0o600); err != nil {
			return err
		}
	}
	_, err := w.Nave(ctx, "apply", "-f", w.Path("environment.json"), "-f", w.Path("agent.json"))
	return err
}

// within bounds one wait.
func within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("not within %v", d))
}

// live waits until a cluster is live.
func (w *world) live(ctx context.Context, name string) error {
	ctx, cancel := within(ctx, 2*time.Minute)
	defer cancel()
	return w.Await(ctx, "cluster "+name+" live", func() (bool, error) {
		c, err := w.client.Clusters.Get(ctx, &navev1.GetRequest{Name: name})
		return c.GetStatus().GetHealth() == string(api.HealthLive), err
	})
}

// step does something and says how long it took.
func (w *world) step(ctx context.Context, what string, f func() error) error {
	begin := time.Now()
	if err := f(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	fmt.Fprintf(w.show, "%-60s %8.1f s\n", what, time.Since(begin).Seconds())
	return context.Cause(ctx)
}

// load does everything once: n reconnects, kills of a spoke and of routers, n sessions.
func (w *world) load(ctx context.Context, n, kills, routers int, plant string) error {
	return errors.Join(
		w.step(ctx, fmt.Sprintf("  %d reconnects", n), func() error { return w.reconnect(ctx, n, plant == "goroutines") }),
		w.step(ctx, fmt.Sprintf("  %d kills of a spoke", kills), func() error { return w.killSpoke(ctx, kills) }),
		w.step(ctx, fmt.Sprintf("  %d kills of a router", routers), func() error { return w.killRouters(ctx, routers) }),
		w.step(ctx, fmt.Sprintf("  %d sessions", n), func() error { return w.sessions(ctx, n, plant) }))
}

// keys counts what the hub's store has. The hub is stopped for it.
func (w *world) keys(ctx context.Context, t *table) error {
	within, cancel := within(ctx, time.Minute)
	defer cancel()
	if err := w.hub.End(within); err != nil {
		return fmt.Errorf("stop the hub: %w", err)
	}
	return t.etcd(ctx, w.Path("hub", "etcd"))
}

// look counts everything that is there now.
func (w *world) look(ctx context.Context, o *overlay) (*table, error) {
	t := newTable()
	for name, p := range map[string]*federation.Process{"hub": w.hub, "spoke": w.spoke} {
		if err := errors.Join(t.profiled(ctx, name, w.ports[map[string]string{"hub": "hub", "spoke": work}[name]]), t.program(name, p.ID())); err != nil {
			return nil, err
		}
		living, zombies, err := processes(p.ID())
		if err != nil {
			return nil, err
		}
		t.add(name+": processes with its children", living, count, none, 0)
		t.add(name+": zombies", zombies, count, none, 0)
	}
	t.self()
	for _, p := range w.overlays() {
		if err := t.program("overlay "+p.role, p.ID); err != nil {
			return nil, err
		}
	}
	t.add("processes that name the run's folder", int64(len(federation.Naming(w.Path()))), count, none, 0)
	if err := errors.Join(w.disk(t), t.archive(ctx, w.Path("hub", "archive", "nave.db")), t.overlay(ctx, o, w.o.kills+2*w.o.routers+2+parts)); err != nil {
		return nil, err
	}
	slices.SortStableFunc(t.figures, func(a, b figure) int {
		x, _, _ := strings.Cut(a.name, ":")
		y, _, _ := strings.Cut(b.name, ":")
		return strings.Compare(x, y)
	})
	return t, nil
}

// profiles keeps heap profiles, if it was asked for: `go tool pprof -base before after` shows what grew.
func (w *world) profiles(ctx context.Context, when string) error {
	if w.o.keep == "" {
		return nil
	}
	if err := os.MkdirAll(w.o.keep, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"hub", work} {
		b, err := profile(ctx, w.ports[name], "heap?gc=1")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(w.o.keep, name+"."+when+".heap.pprof"), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// disk counts files by folder: of temporary files, and of what hub and spokes keep. Databases, journals and logs are bounded by
// themselves and left out.
func (w *world) disk(t *table) error {
	for _, d := range []struct {
		name  string
		path  []string
		slack int64
	}{
		{"temporary files", []string{"tmp"}, none},
		{"hub bucket", []string{"hub", "bucket"}, none},
		{"overlay homes", []string{"hub", "overlay"}, few},
		{"spoke sessions", []string{work, "process", "sessions"}, none},
		{"spoke workloads", []string{work, "process", "workloads"}, none},
		{"spoke run", []string{work, "run"}, none},
		{"killed spoke", []string{killed}, few},
	} {
		n, size, err := tree(w.Path(d.path...))
		if err != nil {
			return err
		}
		t.add("files: "+d.name, n, count, d.slack, 0)
		if d.slack == none {
			t.add("bytes: "+d.name, size, bytesUnit, none, 0)
		}
	}
	return nil
}

// rested looks when nothing moves any more. In the middle of a run what a planted leak has left does not keep it from that.
func (w *world) rested(ctx context.Context, middle bool) (*table, error) {
	o, err := openOverlay(ctx, w.Path("hub", "overlay"))
	if err != nil {
		return nil, err
	}
	within, cancel := within(ctx, time.Minute)
	defer cancel()
	var last *table
	err = w.Await(within, "the federation at rest", func() (bool, error) { // twice the same number of goroutines, and no workload
		t, err := w.look(within, o)
		if err != nil {
			return false, err
		}
		same := last != nil
		for _, name := range []string{"hub: goroutines", "spoke: goroutines", "hub: open socket"} {
			now, _ := t.value(name)
			if last != nil {
				was, _ := last.value(name)
				same = same && was == now
			}
		}
		last = t
		workloads, _ := t.value("files: spoke workloads")
		return same && (middle || workloads == 0), nil
	})
	if middle && last != nil {
		err = nil // what still moves is judged by the next look
	}
	return last, err
}

// settle looks until nothing is past its bound, or the time is over.
func (w *world) settle(ctx context.Context, looks []*table) (lines []line, after *table, err error) {
	o, err := openOverlay(ctx, w.Path("hub", "overlay"))
	if err != nil {
		return nil, nil, err
	}
	within, cancel := context.WithTimeoutCause(ctx, w.o.settle, errGrows)
	defer cancel()
	err = w.Await(within, "nothing grows", func() (bool, error) {
		if after, err = w.look(ctx, o); err != nil {
			return false, err
		}
		lines = after.compare(looks[0], w.o.n)
		after.slopes(lines, looks, w.o.n)
		return len(grown(lines)) == 0, nil
	})
	if errors.Is(err, errGrows) {
		err = nil // the lines say it
	}
	return lines, after, err
}

var errGrows = errors.New("figures grow")

func sorted(m map[string]int64) []string { return slices.Sorted(maps.Keys(m)) }
