package kube

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// feed is what the API server shows of one kind of object in one namespace: it lists, then watches, and begins anew when a watch
// cannot be had. The client library's informers retry where nobody sees it, so that what they show may be old; here the library's
// reflector does one round, and everything between two rounds is ours.
type feed struct {
	of    call // what it asks
	label string
	list  func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error)
	log   *slog.Logger

	shown     picture
	reflector *cache.Reflector

	mu sync.Mutex
	sight
}

// listLimit bounds a question for a page of objects.
const listLimit = 30 * time.Second

// errLate ends a watch that the API server does not begin.
var errLate = errors.New("no answer within " + callLimit.String())

// newFeed makes a feed of objects like this one. It asks nothing before it runs.
func newFeed(f *feed, like runtime.Object) *feed {
	f.shown.Store = cache.NewStore(cache.MetaNamespaceKeyFunc)
	f.reflector = cache.NewReflectorWithOptions(source{f}, like, &f.shown, cache.ReflectorOptions{Name: f.of.resource + " of " + f.of.namespace})
	return f
}

// run shows what there is until ctx ends.
func (f *feed) run(ctx context.Context) error {
	for {
		err := f.reflector.ListAndWatchWithContext(ctx) // nil also when a watch has ended by an error
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f.mu.Lock()
		pause, first := f.rest(rand.Float64()), !f.told
		f.told = f.told || err != nil
		f.mu.Unlock()
		if err != nil && first {
			f.log.Warn("the API server shows nothing", "resource", f.of.resource, "namespace", f.of.namespace, "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// ready is nil while the feed shows what there is.
func (f *feed) ready() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sight.ready(f.of, time.Now())
}

// waits reports that the first answer is still to come.
func (f *feed) waits() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.down == nil && !f.known
}

func (f *feed) fail(verb string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed(call{verb, f.of.resource, f.of.namespace}.fail(err))
}

// source is what the reflector of a feed asks: always with the label of this cluster, and once. It must not ask again by itself: an
// error is to be seen.
type source struct{ f *feed }

// IsWatchListSemanticsUnSupported makes lists be lists: how fresh what is shown is would not be known otherwise.
func (s source) IsWatchListSemanticsUnSupported() bool { return true }

// ListWithContext lists what the storage has, not what a cache of the API server remembers.
func (s source) ListWithContext(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	o.LabelSelector = s.f.label
	if o.Continue == "" {
		o.ResourceVersion, o.ResourceVersionMatch = "", ""
	}
	limited, cancel := context.WithTimeout(ctx, listLimit)
	defer cancel()
	list, err := s.f.list(limited, o)
	if err != nil && ctx.Err() == nil {
		s.f.fail("list", err)
	}
	return list, err
}

// WatchWithContext begins a watch. What was listed before is in the store by now.
func (s source) WatchWithContext(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	o.LabelSelector = s.f.label
	watched, cancel := context.WithCancelCause(ctx)
	late := time.AfterFunc(callLimit, func() { cancel(errLate) })
	w, err := s.f.watch(watched, o)
	late.Stop()
	if err != nil {
		if errors.Is(context.Cause(watched), errLate) {
			err = errLate
		}
		cancel(nil)
		if ctx.Err() == nil {
			s.f.fail("watch", err)
		}
		// Of some errors the reflector would make a watch from where the last one ended, after a pause of up to a minute. A list is sooner
		// as new as what it is told of.
		return nil, errors.New(err.Error())
	}
	s.f.mu.Lock()
	again := s.f.begun(time.Now())
	s.f.mu.Unlock()
	if again {
		s.f.log.Info("the API server shows again what there is", "resource", s.f.of.resource, "namespace", s.f.of.namespace)
	}
	return following{w, sync.OnceFunc(func() {
		cancel(nil)
		s.f.mu.Lock()
		defer s.f.mu.Unlock()
		s.f.ended(time.Now())
	})}, nil
}

// List implements [cache.Lister].
func (s source) List(o metav1.ListOptions) (runtime.Object, error) {
	return s.ListWithContext(context.Background(), o)
}

// Watch implements [cache.Watcher].
func (s source) Watch(o metav1.ListOptions) (watch.Interface, error) {
	return s.WatchWithContext(context.Background(), o)
}

// following is a watch that says when it is over: the reflector stops each one that has ended, however it did.
type following struct {
	watch.Interface
	over func()
}

// Stop implements [watch.Interface].
func (w following) Stop() {
	w.Interface.Stop()
	w.over()
}

// picture is the store of a feed. Its reflector alone changes it, and who wants to know is told when the change is in it. So whatever
// a list or a watch has brought is shown before the reflector asks again.
type picture struct {
	cache.Store
	saw, vanished func(any)
}

// Add implements [cache.ReflectorStore].
func (p *picture) Add(o any) error {
	o = strip(o)
	if err := p.Store.Add(o); err != nil {
		return err
	}
	p.saw(o)
	return nil
}

// Update implements [cache.ReflectorStore].
func (p *picture) Update(o any) error { return p.Add(o) }

// Delete implements [cache.ReflectorStore].
func (p *picture) Delete(o any) error {
	_, ok, err := p.Get(o)
	if err != nil || !ok {
		return err
	}
	o = strip(o)
	if err := p.Store.Delete(o); err != nil {
		return err
	}
	p.vanished(o)
	return nil
}

// Replace implements [cache.ReflectorStore].
func (p *picture) Replace(list []any, version string) error {
	before := p.List()
	for i := range list {
		list[i] = strip(list[i])
	}
	if err := p.Store.Replace(list, version); err != nil {
		return err
	}
	for _, o := range before {
		if _, ok, err := p.Get(o); err == nil && !ok {
			p.vanished(o)
		}
	}
	for _, o := range list {
		p.saw(o)
	}
	return nil
}
