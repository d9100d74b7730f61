package kube

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// Config is what a runtime needs.
type Config struct {
	Rest      *rest.Config  // of the cluster's API server; required. Without a rate of its own it asks at most 50 times a second, 100 at once
	Settings  Settings      // as [ReadSettings] returns them
	Authority []byte        // certificate of the spoke's own authority, PEM; harnesses believe nobody else. Required
	Cluster   func() string // id of the cluster, empty while it is not known: until then nothing is. Required
	Namespace string        // the spoke's own; no session lives there. Empty when the spoke runs outside
	Log       *slog.Logger  // required

	// Tenant makes the namespace of an organization and what belongs into it, or finds it made. Required with namespaces.manage,
	// and called before each start of a session of such an organization until it has succeeded once.
	Tenant func(ctx context.Context, org api.OrgID, namespace string) error
	// Ended returns those of the sessions that the hub says are over for good; an error when it says nothing. Nil: volumes stay.
	Ended func(context.Context, []api.SessionID) ([]api.SessionID, error)
	// Moved returns those of the sessions that go on in another cluster, of which a checkpoint is durable that was taken there; an error
	// when the hub says nothing. Nil: the volumes of their state stay until they are over. It is asked after Ended.
	Moved     func(context.Context, []api.SessionID) ([]api.SessionID, error)
	TidyEvery time.Duration // how often the hub is asked; default 1 min, 10 ms to 24 h
}

func (c *Config) validate() error {
	switch {
	case c.Rest == nil:
		return api.Invalid("Rest", "is required")
	case c.Cluster == nil:
		return api.Invalid("Cluster", "is required")
	case c.Log == nil:
		return api.Invalid("Log", "is required")
	case c.Settings.Namespaces.Manage && c.Tenant == nil:
		return api.Invalid("Tenant", "is required with namespaces.manage")
	}
	if block, _ := pem.Decode(c.Authority); block == nil {
		return api.Invalid("Authority", "want a certificate as PEM")
	} else if _, err := x509.ParseCertificate(block.Bytes); err != nil {
		return api.Invalid("Authority", "want a certificate as PEM: %v", err)
	}
	if c.TidyEvery = cmp.Or(c.TidyEvery, time.Minute); c.TidyEvery < 10*time.Millisecond || c.TidyEvery > 24*time.Hour {
		return api.Invalid("TidyEvery", "%v: want 10ms to 24h", c.TidyEvery)
	}
	if err := c.Settings.complete(); err != nil {
		return err
	}
	for org, ns := range c.Settings.Namespaces.Organizations {
		if ns == c.Namespace {
			return api.Invalid("namespaces.organizations", "%s: %q is the spoke's own namespace: give its sessions another", org, ns)
		}
	}
	return nil
}

// Runtime implements [spoke.Runtime] by pods.
type Runtime struct {
	c    Config
	core corev1client.CoreV1Interface
	wake chan struct{} // holds one token when there may be something to do; full means that Run will look anyway

	volumes sync.RWMutex // held to use volumes for a start, and alone to delete one of a session that may start; before mu

	mu      sync.Mutex
	cluster string            // id, once it is known
	places  map[string]*place // by namespace
	listed  bool              // all namespaces with sessions are in places
	of      map[spoke.WorkloadID]*memory
	digests map[string]string // of images, by revision and reference
	images  *bool             // the cluster has image volumes; nil: not known yet

	limits   map[string][]corev1.ResourceQuota // by namespace, as of limitsAt
	limitsAt time.Time
}

var _ spoke.Runtime = (*Runtime)(nil)

// memory is what this process knows of a workload beside what the informers show.
type memory struct {
	starting chan struct{} // closed when the Start that runs has returned; nil when none does

	claim   *corev1.ConfigMap // made by this process, until an informer shows it
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
}

// Times of a runtime.
const (
	callLimit  = 10 * time.Second // of one question to the API server
	syncLimit  = 5 * time.Second  // how long an answer waits for the informers at first
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
	core, err := corev1client.NewForConfig(of)
	if err != nil {
		return nil, fmt.Errorf("make a client of the API server: %w", err)
	}
	return &Runtime{
		c: c, core: core, wake: make(chan struct{}, 1), places: map[string]*place{},
		of: map[spoke.WorkloadID]*memory{}, digests: map[string]string{},
	}, nil
}

// Run watches the cluster, gives up on pods that do not start, confirms that pods are gone and deletes volumes of sessions that
// are over, until ctx ends.
func (r *Runtime) Run(ctx context.Context) error {
	g := run.NewGroup(ctx)
	g.Go("tend", func(ctx context.Context) error { return r.tendAll(ctx, g) })
	if r.c.Ended != nil {
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

// open starts the feeds of every namespace that has none yet.
func (r *Runtime) open(ctx context.Context, g *run.Group) error {
	r.mu.Lock()
	listed := r.listed
	r.mu.Unlock()
	if !listed {
		if err := r.find(ctx); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.places {
		if !p.running {
			p.running = true
			g.Go("pods of "+p.namespace, p.pods.run)
			g.Go("claims of "+p.namespace, p.claims.run)
		}
	}
	return nil
}

// find learns the namespaces with sessions: those of the settings, and those that were made.
func (r *Runtime) find(ctx context.Context) error {
	cluster := strings.ToLower(r.c.Cluster())
	if cluster == "" {
		return api.Errorf(api.CodeUnavailable, "the id of the cluster is not known yet")
	}
	names := slices.Collect(maps.Values(r.c.Settings.Namespaces.Organizations))
	if r.c.Settings.Namespaces.Manage {
		ctx, cancel := context.WithTimeout(ctx, callLimit)
		defer cancel()
		list, err := r.core.Namespaces().List(ctx, metav1.ListOptions{LabelSelector: selector(cluster)})
		if err != nil {
			return call{"list", "namespaces", ""}.fail(err)
		}
		for _, ns := range list.Items {
			names = append(names, ns.Name)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cluster = cluster
	for _, n := range names {
		if err := r.addLocked(n); err != nil {
			return err
		}
	}
	r.listed = true
	return nil
}

func (r *Runtime) addLocked(namespace string) error {
	if r.places[namespace] != nil || namespace == r.c.Namespace {
		return nil
	}
	p, err := r.newPlace(namespace, r.cluster)
	if err == nil {
		r.places[namespace] = p
	}
	return err
}

// Ready is nil while everything that runs is known.
func (r *Runtime) Ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.readyLocked()
}

func (r *Runtime) readyLocked() error {
	if !r.listed {
		return api.Errorf(api.CodeUnavailable, "the namespaces of sessions are not known yet")
	}
	for _, p := range r.places {
		if err := p.ready(); err != nil {
			return err
		}
	}
	return nil
}

// await waits for the informers to know what runs, for a while; not for an API server that does not let them.
func (r *Runtime) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, syncLimit)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		r.mu.Lock()
		err, waits := r.readyLocked(), !r.listed
		for _, p := range r.places {
			waits = waits || p.pods.waits() || p.claims.waits()
		}
		r.mu.Unlock()
		if err == nil || !waits {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
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

// Pod is the pod of a workload, as an informer shows it; false when there is none.
func (r *Runtime) Pod(id spoke.WorkloadID) (namespace, name string, uid types.UID, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	it := r.itemLocked(id)
	if it.pod == nil {
		return "", "", "", false
	}
	return it.pod.Namespace, it.pod.Name, it.pod.UID, true
}
