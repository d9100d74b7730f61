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

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke/kube/tenant"
)

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
