package kube

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
)

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
