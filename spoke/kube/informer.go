package kube

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/nave-dev/nave/api"
)

// feed is what the API server shows of one kind of object in one namespace.
type feed struct {
	cache.SharedIndexInformer
	of call // what it asks

	mu   sync.Mutex
	down error // of the last list or watch; nil when it succeeded
}

// source lists and watches with the label of this cluster.
type source struct {
	f     *feed
	label string
	list  func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// IsWatchListSemanticsUnSupported makes lists be lists: how fresh what is shown is would not be known otherwise.
func (s *source) IsWatchListSemanticsUnSupported() bool { return true }

// ListWithContext lists what the storage has, not what a cache of the API server remembers.
func (s *source) ListWithContext(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	o.LabelSelector = s.label
	if o.Continue == "" {
		o.ResourceVersion, o.ResourceVersionMatch = "", ""
	}
	list, err := s.list(ctx, o)
	if err != nil { // what is held is as new as a watch can tell only when one is established again
		s.f.set(s.f.of.fail(err))
	}
	return list, err
}

// WatchWithContext begins a watch. What was listed before is in the store by now.
func (s *source) WatchWithContext(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	o.LabelSelector = s.label
	w, err := s.watch(ctx, o)
	if err != nil {
		s.f.set(call{"watch", s.f.of.resource, s.f.of.namespace}.fail(err))
		return nil, err
	}
	s.f.set(nil)
	return w, nil
}

// List implements [cache.Lister].
func (s *source) List(o metav1.ListOptions) (runtime.Object, error) {
	return s.ListWithContext(context.Background(), o)
}

// Watch implements [cache.Watcher].
func (s *source) Watch(o metav1.ListOptions) (watch.Interface, error) {
	return s.WatchWithContext(context.Background(), o)
}

func (f *feed) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = err
}

// ready is nil while the feed shows what there is.
func (f *feed) ready() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.down != nil:
		return f.down
	case !f.HasSynced():
		return api.Errorf(api.CodeUnavailable, "%s in namespace %s are not known yet", f.of.resource, f.of.namespace)
	}
	return nil
}

// waits reports that the first answer is still to come.
func (f *feed) waits() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.down == nil && !f.HasSynced()
}

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
func (r *Runtime) newPlace(namespace, cluster string) (*place, error) {
	pods, claims := r.core.Pods(namespace), r.core.ConfigMaps(namespace)
	p := &place{
		namespace: namespace,
		pods:      &feed{of: call{"list", "pods", namespace}},
		claims:    &feed{of: call{"list", "configmaps", namespace}},
	}
	p.pods.SharedIndexInformer = cache.NewSharedIndexInformer(&source{p.pods, selector(cluster),
		func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return pods.List(ctx, o) }, pods.Watch}, new(corev1.Pod), 0, nil)
	p.claims.SharedIndexInformer = cache.NewSharedIndexInformer(&source{p.claims, selector(cluster),
		func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return claims.List(ctx, o) }, claims.Watch}, new(corev1.ConfigMap), 0, nil)
	for _, f := range []*feed{p.pods, p.claims} {
		if err := f.SetTransform(strip); err != nil {
			return nil, fmt.Errorf("prepare what is shown of namespace %s: %w", namespace, err)
		}
		if err := f.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
			r.c.Log.Warn("the API server shows nothing", "resource", f.of.resource, "namespace", namespace, "error", err)
		}); err != nil {
			return nil, err
		}
	}
	if _, err := p.pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { r.saw(o) },
		UpdateFunc: func(_, o any) { r.saw(o) },
		DeleteFunc: r.vanished,
	}); err != nil {
		return nil, err
	}
	_, err := p.claims.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { r.nudge() }, DeleteFunc: r.released,
	})
	return p, err
}

// strip leaves what is looked at of an object.
func strip(o any) (any, error) {
	switch o := o.(type) {
	case *corev1.Pod:
		o.ManagedFields = nil
		o.Spec = corev1.PodSpec{NodeName: o.Spec.NodeName, Containers: bare(o.Spec.Containers), InitContainers: bare(o.Spec.InitContainers)}
	case *corev1.ConfigMap:
		o.ManagedFields, o.Data, o.BinaryData = nil, nil, nil // the description is asked for when it is wanted
	}
	return o, nil
}

func bare(in []corev1.Container) []corev1.Container {
	out := make([]corev1.Container, 0, len(in))
	for _, c := range in {
		out = append(out, corev1.Container{Name: c.Name, Image: c.Image, Resources: c.Resources})
	}
	return out
}
