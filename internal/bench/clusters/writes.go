package clusters

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/spoke/kube"
)

// Writes counts what a spoke asks for one life.
var Writes = measure.Scenario{
	Name: "pod-writes",
	About: "what a spoke asks of the API server from the signal until nothing is left of the pod, counted by a proxy between the two; " +
		"the floor is making a pod and deleting it",
	Run: func(ctx context.Context, b *measure.Bench) error { return inWorld(ctx, b, countWrites) },
}

// Writes of a life: two objects made and deleted; of a bare pod one.
const (
	writesOfALife = 4
	writesOfAPod  = 2
)

func countWrites(ctx context.Context, w *world) error {
	p, err := newProxy(w.group, w.cluster.Rest, w.Path())
	if err != nil {
		return err
	}
	if err := w.agent(ctx, "quick", quickScript, "60s"); err != nil {
		return err
	}
	if err := w.begin(ctx, kube.DeliveryVolume, p.Kubeconfig); err != nil {
		return err
	}
	if _, err := w.once(ctx); err != nil { // what is asked once, like the version, is not of a life
		return err
	}
	lives := w.b.Many(10, 3)
	from := time.Now()
	for range lives {
		if _, err := w.once(ctx); err != nil {
			return err
		}
	}
	all := p.between(from, time.Now())
	writes := 0
	counts := kinds(all)
	for _, a := range all {
		if a.writes() {
			writes++
		}
		if !strings.HasPrefix(a.agent, "nave-spoke/") {
			return fmt.Errorf("%q asks with the spoke's kubeconfig", a.agent)
		}
	}
	w.b.Report(measure.Figure{Name: "writes a life", Unit: "requests", Value: float64(writes) / float64(lives), Floor: writesOfAPod, Target: writesOfALife})
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		w.b.Report(measure.Figure{Name: "a life: " + kind, Unit: "requests", Value: float64(counts[kind]) / float64(lives)})
	}
	return nil
}
