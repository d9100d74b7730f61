package kube

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke/kube/tenant"
)

// place is one namespace with sessions.
type place struct {
	namespace string
	pods      *feed
	claims    *feed

	stop  context.CancelFunc // ends its feeds; nil before they were started
	again time.Time          // when it may be asked why they show nothing
}

// ready is nil while everything of the namespace is known.
func (p *place) ready() error {
	if err := p.claims.ready(); err != nil {
		return err
	}
	return p.pods.ready()
}

// newPlace makes the feeds of a namespace. They ask nothing before they run.
func (r *Runtime) newPlace(namespace, cluster string) *place {
	pods, claims := r.core.Pods(namespace), r.core.ConfigMaps(namespace)
	return &place{
		namespace: namespace,
		pods: newFeed(&feed{
			of: call{"list", "pods", namespace}, label: selector(cluster), log: r.c.Log,
			list:  func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return pods.ListOnce(ctx, o) },
			watch: pods.Watch, shown: picture{saw: r.saw, vanished: r.vanished},
		}, new(corev1.Pod)),
		claims: newFeed(&feed{
			of: call{"list", "configmaps", namespace}, label: selector(cluster), log: r.c.Log,
			list: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				return claims.ListOnce(ctx, o)
			},
			watch: claims.Watch, shown: picture{saw: r.sawClaim, vanished: r.lostClaim},
		}, new(corev1.ConfigMap)),
	}
}

// strip leaves what is looked at of an object.
func strip(o any) any {
	switch o := o.(type) {
	case *corev1.Pod:
		o.ManagedFields = nil
		o.Spec = corev1.PodSpec{NodeName: o.Spec.NodeName, Containers: bare(o.Spec.Containers), InitContainers: bare(o.Spec.InitContainers)}
	case *corev1.ConfigMap:
		o.ManagedFields, o.Data, o.BinaryData = nil, nil, nil // the description is asked for when it is wanted
	}
	return o
}

func bare(in []corev1.Container) []corev1.Container {
	out := make([]corev1.Container, 0, len(in))
	for _, c := range in {
		out = append(out, corev1.Container{Name: c.Name, Image: c.Image, Resources: c.Resources})
	}
	return out
}

// open starts the feeds of every namespace that has none yet, and ends those of namespaces that are gone.
func (r *Runtime) open(ctx context.Context, g *run.Group) error {
	r.mu.Lock()
	listed := r.listed
	r.mu.Unlock()
	if !listed {
		if err := r.find(ctx); err != nil {
			return err
		}
	}
	r.mend(ctx, time.Now())
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.places {
		if p.stop != nil {
			continue
		}
		var own context.Context
		own, p.stop = context.WithCancel(ctx)
		for name, f := range map[string]*feed{"pods of ": p.pods, "claims of ": p.claims} {
			g.Go(name+p.namespace, func(context.Context) error {
				_ = f.run(own)
				return ctx.Err() // nil when the namespace alone is gone
			})
		}
	}
	return nil
}

// mend asks why the spoke may not look into namespaces that it made, since one of them hides all others. One that somebody deleted is left: what was
// in it went before it. In one that is there the rights are repaired.
func (r *Runtime) mend(ctx context.Context, now time.Time) {
	for _, p := range r.mute(now) {
		ns, err := r.space(ctx, p.namespace)
		switch {
		case apierrors.IsNotFound(err):
			r.mu.Lock()
			delete(r.places, p.namespace)
			r.mu.Unlock()
			p.stop()
			r.c.Log.Warn("the namespace of an organization is gone", "namespace", p.namespace)
		case err == nil && ns.DeletionTimestamp == nil && ns.Labels[tenant.LabelOrganization] != "":
			one, cancel := context.WithTimeout(ctx, callLimit)
			err = r.c.Tenant(one, api.OrgID(ns.Labels[tenant.LabelOrganization]), p.namespace)
			cancel()
		}
		if err != nil && ctx.Err() == nil {
			r.c.Log.Debug("a namespace that may not be looked into is not mended", "namespace", p.namespace, "error", err)
		}
	}
}

// mute are the namespaces that the spoke made, may not look into, and did not ask about lately.
func (r *Runtime) mute(now time.Time) (out []*place) {
	if !r.c.Settings.Namespaces.Manage {
		return nil
	}
	operators := slices.Collect(maps.Values(r.c.Settings.Namespaces.Organizations))
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.places {
		if p.stop == nil || api.CodeOf(p.ready()) != api.CodeDenied || now.Before(p.again) || slices.Contains(operators, p.namespace) {
			continue
		}
		p.again = now.Add(againTime)
		out = append(out, p)
	}
	return out
}

// space asks for a namespace.
func (r *Runtime) space(ctx context.Context, name string) (*corev1.Namespace, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return r.core.Namespaces().Get(ctx, name, metav1.GetOptions{})
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
		r.addLocked(n)
	}
	r.listed = true
	return nil
}

func (r *Runtime) addLocked(namespace string) {
	if r.places[namespace] == nil && namespace != r.c.Namespace {
		r.places[namespace] = r.newPlace(namespace, r.cluster)
	}
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

// await waits for the feeds to know what runs, for a while; not for an API server that does not let them.
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

// prepare returns the namespace of an organization's sessions, which is watched from then on.
func (r *Runtime) prepare(ctx context.Context, org api.OrgID) (string, error) {
	namespace, ok := r.c.Settings.namespace(org)
	if !ok || namespace == r.c.Namespace {
		return "", unsupported("organization", fmt.Sprintf("%q has no namespace in this cluster: let its operator name one under namespaces.organizations, or set namespaces.manage", org))
	}
	r.mu.Lock()
	listed, known := r.listed, r.places[namespace] != nil
	r.mu.Unlock()
	if listed && !known { // else it is of the settings, or was found made
		if err := r.c.Tenant(ctx, org, namespace); err != nil {
			return "", fmt.Errorf("make the namespace of organization %s: %w", org, err)
		}
		r.mu.Lock()
		r.addLocked(namespace)
		r.mu.Unlock()
		r.nudge()
	}
	return namespace, r.await(ctx)
}
