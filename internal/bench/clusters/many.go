package clusters

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/internal/testcluster"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/door"
	"github.com/nave-dev/nave/spoke/kube"
)

// Many measures a spoke with many workloads.
var Many = measure.Scenario{
	Name: "pod-many",
	About: "the runtime of a spoke, with its informers, in a process of its own, on a fleet of fake nodes with a real API server: " +
		"what it holds and asks with 0, 100 and 1,000 workloads; the pods have no harness, so the spoke around the runtime is not measured. It has no floor.",
	Run: many,
}

// clusterOfMany is the id of the cluster, as labels have it.
const clusterOfMany = "01k84mcrbe0000000000000009"

// fleet is a fleet and the runtime that makes workloads on it.
type fleet struct {
	b        *measure.Bench
	c        *testcluster.Cluster
	proxy    *proxy
	maker    *kube.Runtime
	settings string // files
	pem      string
	made     int
}

func many(ctx context.Context, b *measure.Bench) (err error) {
	bin, err := testcluster.Programs(ctx, b.Log)
	if err != nil {
		return err
	}
	bed, err := testcluster.StartFleet(ctx, testcluster.Config{Bin: bin, Log: b.Log, Nodes: 10})
	if err != nil {
		return err
	}
	g := run.NewGroup(ctx)
	defer func() {
		g.Stop()
		err = errors.Join(err, g.Wait(), bed.Stop())
	}()
	f := &fleet{b: b, c: bed.Clusters[0], settings: filepath.Join(b.Dir, "settings.json"), pem: filepath.Join(b.Dir, "authority.pem")}
	if f.proxy, err = newProxy(g, f.c.Rest, b.Dir); err != nil {
		return err
	}
	if err := f.begin(ctx, g); err != nil {
		return err
	}
	for _, n := range []int{0, 100, b.Many(1000, 300)} {
		if err := f.grow(ctx, n); err != nil {
			return err
		}
		if err := f.measure(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// begin makes the namespace and the runtime that makes workloads.
func (f *fleet) begin(ctx context.Context, g *run.Group) error {
	if err := furnishOrganization(ctx, f.c); err != nil {
		return err
	}
	authority, err := door.OpenAuthority(filepath.Join(f.b.Dir, "authority"))
	if err != nil {
		return err
	}
	text := fmt.Sprintf(`{"service": "127.0.0.1:1", "namespaces": {"organizations": {"default": %q}}, "harness": {"image": "registry.example/harness:1"},
"flavors": {"small": {"cpu": "10m", "memory": "16Mi", "count": 2000}}}`, namespaceOfOrg)
	if err := errors.Join(os.WriteFile(f.settings, []byte(text), 0o600), os.WriteFile(f.pem, authority.PEM(), 0o600)); err != nil {
		return err
	}
	s, err := kube.ReadSettings(f.settings) // JSON is YAML
	if err != nil {
		return err
	}
	of := rest.CopyConfig(f.c.Rest)
	of.UserAgent = "maker"
	f.maker, err = kube.New(kube.Config{Rest: of, Settings: s, Authority: authority.PEM(), Cluster: func() string { return clusterOfMany }, Log: f.b.Log.With("part", "maker")})
	if err != nil {
		return err
	}
	g.Go("the maker's runtime", f.maker.Run)
	return nil
}

// grow makes workloads until there are so many, and waits until all run.
func (f *fleet) grow(ctx context.Context, n int) error {
	const makers = 8
	left := n - f.made
	if _, err := together(ctx, makers, func(ctx context.Context) (struct{}, error) {
		for range left / makers {
			if err := f.maker.Start(ctx, workload()); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, nil
	}); err != nil {
		return err
	}
	for range left % makers {
		if err := f.maker.Start(ctx, workload()); err != nil {
			return err
		}
	}
	f.made = n
	ctx, cancel := context.WithTimeoutCause(ctx, 3*limit, fmt.Errorf("not within %v", 3*limit))
	defer cancel()
	for {
		all, err := f.maker.List(ctx)
		runs := 0
		for _, w := range all {
			if w.State == spoke.WorkloadRunning {
				runs++
			}
		}
		if err == nil && runs == n {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d workloads run: %w (%v)", runs, n, context.Cause(ctx), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// workload is one of a new session.
func workload() spoke.WorkloadSpec {
	var entropy [10]byte
	rand.Read(entropy[:])
	return spoke.WorkloadSpec{
		ID:  spoke.WorkloadID{Session: api.NewSessionID(time.Now(), 0, entropy), Epoch: api.Epoch{N: 1}, Attempt: 1},
		Org: api.DefaultOrg, Key: "a key",
		Revision: &api.ResolvedRevision{
			AgentID: "01K84MCRBE0000000000000000", AgentName: "bench", AgentRevision: 1, EnvironmentRevision: 1,
			Agent:       (&api.AgentSpec{Environment: "bench", Harness: api.HarnessSpec{Protocol: api.ProtocolACP, Command: []string{"agent"}}}).WithDefaults(),
			Environment: (&api.EnvironmentSpec{Image: "registry.example/agent:1"}).For(nil),
		},
	}
}

// measure starts the runtime in a process of its own, looks at it while nothing happens, kills it and starts it again.
func (f *fleet) measure(ctx context.Context, n int) error {
	name := fmt.Sprintf("%d workloads", n)
	began := time.Now()
	p, _, err := f.child(ctx, n)
	if err != nil {
		return err
	}
	defer func() { p.kill() }()
	wait(ctx, f.b.Long(5*time.Second, 3*time.Second)) // until what was asked for at the start is over
	from, during := time.Now(), f.b.Long(40*time.Second, 10*time.Second)
	wait(ctx, during)
	memory, err := measure.MemoryOf(p.id())
	if err != nil {
		return err
	}
	rest := f.proxy.between(from, time.Now())
	f.b.Report(measure.Figure{Name: name + ": resident", Unit: "MiB", Value: float64(memory.Resident) / (1 << 20)})
	f.b.Report(measure.Figure{Name: name + ": anonymous", Unit: "MiB", Value: float64(memory.Anonymous) / (1 << 20)})
	f.b.Report(measure.Figure{Name: name + ": requests a minute at rest", Unit: "requests", Value: float64(len(rest)) / during.Minutes()})
	counts := kinds(rest)
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		f.b.Report(measure.Figure{Name: name + ": at rest, " + kind, Unit: "requests/min", Value: float64(counts[kind]) / during.Minutes()})
	}
	var took measure.Samples
	for range f.b.Many(5, 2) {
		p.kill()
		var d time.Duration
		if p, d, err = f.child(ctx, n); err != nil {
			return err
		}
		took = append(took, d)
	}
	f.b.Report(measure.Figure{Name: name + ": kill -9 to all workloads known again, p50", Unit: "ms", Value: measure.Ms(took.At(0.5))})
	return f.selected(name, f.proxy.between(began, time.Now()))
}

// selected fails when pods or claims were listed or watched without a selector, and reports what else was.
func (f *fleet) selected(name string, all []asked) error {
	lists := 0
	for _, a := range all {
		if (a.verb == "list" || a.verb == "watch") && strings.HasPrefix(a.selector, kube.LabelCluster+"=") {
			lists++
		}
	}
	without := unselected(all)
	for _, kind := range without {
		if kind != "list resourcequotas" { // an operator's, which carry no label of ours
			return fmt.Errorf("%s: without a selector: %s", name, kind)
		}
	}
	if lists == 0 {
		return fmt.Errorf("%s: nothing was listed", name)
	}
	f.b.Report(measure.Figure{Name: name + ": lists and watches that select by the cluster's label", Unit: "requests", Value: float64(lists)})
	f.b.Report(measure.Figure{Name: name + ": without a selector (quotas of the namespace alone)", Unit: "kinds", Value: float64(len(without))})
	return nil
}

// wait waits.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
