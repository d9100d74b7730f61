package clusters

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/nave-dev/nave/internal/run"
)

// life is when an informer first showed what of a pod. What it has not shown is zero.
type life struct {
	claim     time.Time // the object that the spoke makes before the pod
	made      time.Time
	scheduled time.Time // it has a node
	pulled    time.Time // the kubelet says that the image of the last container is there: sandbox and volumes are ready
	created   time.Time // the kubelet says that the last container is made
	started   time.Time // the kubelet says that the last container was started
	running   time.Time
	ended     time.Time // it is terminal
	gone      time.Time
	unclaimed time.Time // the claim is gone
}

// observer notes what the API server shows of a namespace.
type observer struct {
	mu      sync.Mutex
	lives   map[string]*life // by name
	changed chan struct{}    // closed and replaced at every change
}

// observe starts the informers, and returns when they know what is there.
func observe(g *run.Group, c kubernetes.Interface, namespace string) (*observer, error) {
	o := &observer{lives: map[string]*life{}, changed: make(chan struct{})}
	var synced []cache.InformerSynced
	for resource, of := range map[string]struct {
		example runtime.Object
		handler cache.ResourceEventHandlerFuncs
	}{
		"pods":       {&corev1.Pod{}, cache.ResourceEventHandlerFuncs{AddFunc: o.pod, UpdateFunc: func(_, n any) { o.pod(n) }, DeleteFunc: o.podGone}},
		"configmaps": {&corev1.ConfigMap{}, cache.ResourceEventHandlerFuncs{AddFunc: o.claim, DeleteFunc: o.claimGone}},
		"events":     {&corev1.Event{}, cache.ResourceEventHandlerFuncs{AddFunc: o.event, UpdateFunc: func(_, n any) { o.event(n) }}},
	} {
		lw := cache.NewListWatchFromClient(c.CoreV1().RESTClient(), resource, namespace, fields.Everything())
		informer := cache.NewSharedIndexInformer(lw, of.example, 0, nil)
		handler, err := informer.AddEventHandler(of.handler)
		if err != nil {
			return nil, err
		}
		synced = append(synced, handler.HasSynced)
		g.Go("observe "+resource, func(ctx context.Context) error {
			informer.RunWithContext(ctx)
			return nil
		})
	}
	ctx, cancel := context.WithTimeout(g.Context(), limit)
	defer cancel()
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return nil, fmt.Errorf("the API server does not show namespace %s", namespace)
	}
	return o, nil
}

// note notes the time of something, the first time.
func (o *observer) note(name string, of ...func(*life) *time.Time) {
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.lives[name]
	if l == nil {
		l = new(life)
		o.lives[name] = l
	}
	for _, field := range of {
		if t := field(l); t.IsZero() {
			*t = now
		}
	}
	close(o.changed)
	o.changed = make(chan struct{})
}

func (o *observer) pod(object any) {
	p := object.(*corev1.Pod)
	seen := []func(*life) *time.Time{func(l *life) *time.Time { return &l.made }}
	if p.Spec.NodeName != "" {
		seen = append(seen, func(l *life) *time.Time { return &l.scheduled })
	}
	switch p.Status.Phase {
	case corev1.PodRunning:
		seen = append(seen, func(l *life) *time.Time { return &l.running })
	case corev1.PodSucceeded, corev1.PodFailed:
		seen = append(seen, func(l *life) *time.Time { return &l.ended })
	}
	o.note(p.Name, seen...)
}

func (o *observer) podGone(object any) {
	if name, err := cache.DeletionHandlingObjectToName(object); err == nil {
		o.note(name.Name, func(l *life) *time.Time { return &l.gone })
	}
}

func (o *observer) claim(object any) {
	o.note(object.(*corev1.ConfigMap).Name, func(l *life) *time.Time { return &l.claim })
}

func (o *observer) claimGone(object any) {
	if name, err := cache.DeletionHandlingObjectToName(object); err == nil {
		o.note(name.Name, func(l *life) *time.Time { return &l.unclaimed })
	}
}

// event takes what the kubelet says of the last container, which is the one with the agent. Its own times have whole seconds.
func (o *observer) event(object any) {
	e := object.(*corev1.Event)
	if e.InvolvedObject.Kind != "Pod" || !strings.Contains(e.InvolvedObject.FieldPath, "spec.containers") {
		return
	}
	switch e.Reason {
	case "Pulled":
		o.note(e.InvolvedObject.Name, func(l *life) *time.Time { return &l.pulled })
	case "Created":
		o.note(e.InvolvedObject.Name, func(l *life) *time.Time { return &l.created })
	case "Started":
		o.note(e.InvolvedObject.Name, func(l *life) *time.Time { return &l.started })
	}
}

// of is what was seen under a name.
func (o *observer) of(name string) life {
	o.mu.Lock()
	defer o.mu.Unlock()
	if l := o.lives[name]; l != nil {
		return *l
	}
	return life{}
}

// await waits until what was seen is so.
func (o *observer) await(ctx context.Context, what, name string, is func(life) bool) (life, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not within %v", limit))
	defer cancel()
	for {
		o.mu.Lock()
		changed := o.changed
		o.mu.Unlock()
		if l := o.of(name); is(l) {
			return l, nil
		}
		select {
		case <-ctx.Done():
			l := o.of(name)
			return l, fmt.Errorf("%s: %w; seen: %+v", what, context.Cause(ctx), l)
		case <-changed:
		}
	}
}
