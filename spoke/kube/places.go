package kube

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
)

// place is one namespace with sessions.
type place struct {
	namespace string
	pods      *feed
	claims    *feed
	running   bool // its feeds were started; of [Runtime.Run]
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
