package kube

import (
	"cmp"
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// Runtime implements [spoke.Runtime] by pods.
type Runtime struct {
	c    Config
	core *core
	wake chan struct{} // holds one token when there may be something to do; full means that Run will look anyway
	// turns is the same for labels of turns.
	turns chan struct{}

	volumes sync.RWMutex // held to use volumes for a start, and alone to delete one of a session that may start; before mu

	mu      sync.Mutex
	cluster string            // id, once it is known
	places  map[string]*place // by namespace
	listed  bool              // all namespaces with sessions are in places
	of      map[spoke.WorkloadID]*memory
	pins    map[string]*pin // of images, by revision and reference
	images  *bool           // the cluster has image volumes; nil: not known yet

	limits   map[string][]corev1.ResourceQuota // by namespace, as of limitsAt
	limitsAt time.Time
}

var _ spoke.Runtime = (*Runtime)(nil)

// memory is what this process knows of a workload beside what feeds show.
type memory struct {
	starting chan struct{} // closed when the Start that runs has returned; nil when none does

	claim   *corev1.ConfigMap // made by this process, until a feed shows it
	pod     *corev1.Pod
	made    time.Time
	trouble string // why nobody can tell whether the pod was made

	stopAt, stopBy time.Time   // when it was first asked to end, and by when it must have
	last           *corev1.Pod // as it was shown last; set when it is not shown any more
	since          time.Time   // when it was first seen without its pod
	again          time.Time   // when the storage is asked for the pod again
	absent         bool        // its pod is confirmed absent

	kind  obstacleKind // what it has been seen to wait for, and since when
	start time.Time
	met   time.Time

	turn turnMemory
}

// Times of a runtime.
const (
	callLimit  = 10 * time.Second // of one question to the API server
	syncLimit  = 5 * time.Second  // how long an answer waits for the feeds at first
	lagLimit   = 30 * time.Second // what this process made is shown by then
	startLimit = 3 * callLimit    // of all that a start asks
	settleTime = 40 * time.Second // a pod that nobody saw may still be made by a request that is under way, of a start before this process
	againTime  = 5 * time.Second  // between questions whether a pod is gone
	tendEvery  = time.Second
	tendSoon   = 100 * time.Millisecond
)

// New checks the configuration. It asks nothing and starts nothing.
func New(c Config) (*Runtime, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	of := rest.CopyConfig(c.Rest)
	if of.QPS == 0 && of.RateLimiter == nil {
		of.QPS, of.Burst = 50, 100
	}
	of.UserAgent = cmp.Or(of.UserAgent, nameManager)
	core, err := newCore(of)
	if err != nil {
		return nil, err
	}
	return &Runtime{
		c: c, core: core, wake: make(chan struct{}, 1), turns: make(chan struct{}, 1), places: map[string]*place{},
		of: map[spoke.WorkloadID]*memory{}, pins: map[string]*pin{},
	}, nil
}

// Run watches the cluster, gives up on pods that do not start, confirms that pods are gone, labels those in which a turn runs, keeps by
// which digests images run and deletes volumes of sessions that are over, until ctx ends.
func (r *Runtime) Run(ctx context.Context) error {
	g := run.NewGroup(ctx)
	g.Go("tend", func(ctx context.Context) error { return r.tendAll(ctx, g) })
	g.Go("turns", r.labelTurns)
	if r.c.Fates != nil {
		g.Go("tidy", r.tidy)
	}
	return g.Wait()
}

// tendAll looks after everything when something changed, and now and then.
func (r *Runtime) tendAll(ctx context.Context, g *run.Group) error {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	soon := time.NewTimer(tendSoon)
	defer soon.Stop()
	for {
		if err := r.open(ctx, g); err != nil {
			if ctx.Err() == nil {
				r.c.Log.Warn("namespaces of sessions are not known", "error", err)
			}
		} else {
			r.tend(ctx, time.Now())
			r.keep(ctx, time.Now())
		}
		soon.Reset(tendSoon) // many changes are one look
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-soon.C:
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.wake:
		case <-tick.C:
		}
	}
}

// nudge makes Run look.
func (r *Runtime) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Describe returns what the harness of a workload is to run. CodeNotFound when there is no such workload.
func (r *Runtime) Describe(ctx context.Context, id spoke.WorkloadID) (*harnessv1.Workload, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	r.mu.Lock()
	it := r.itemLocked(id)
	r.mu.Unlock()
	if it.claim == nil {
		return nil, api.Errorf(api.CodeNotFound, "there is no workload %s", id)
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	c, err := r.core.ConfigMaps(it.claim.Namespace).Get(ctx, it.claim.Name, metav1.GetOptions{})
	if err != nil {
		return nil, call{"get", "configmaps", it.claim.Namespace}.fail(err)
	}
	return readClaim(c)
}

// Pod is the pod of a workload, as a feed shows it; false when there is none.
func (r *Runtime) Pod(id spoke.WorkloadID) (namespace, name string, uid types.UID, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	it := r.itemLocked(id)
	if it.pod == nil {
		return "", "", "", false
	}
	return it.pod.Namespace, it.pod.Name, it.pod.UID, true
}
