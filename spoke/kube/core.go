package kube

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// core is the group of the API that pods are of. It asks as the typed client of that group does, which would bring every group
// of the API into the program: 12 MiB of its memory.
type core struct {
	client rest.Interface
	codec  runtime.ParameterCodec
}

// newCore makes a client. It asks nothing.
func newCore(of *rest.Config) (*core, error) {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("register the objects of the API: %w", err)
	}
	own := rest.CopyConfig(of)
	own.APIPath, own.GroupVersion = "/api", &corev1.SchemeGroupVersion
	own.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(own)
	if err != nil {
		return nil, fmt.Errorf("make a client of the API server: %w", err)
	}
	return &core{client, runtime.NewParameterCodec(scheme)}, nil
}

// Kinds of objects, in a namespace or in none.
type (
	pods    = resources[corev1.Pod, corev1.PodList, *corev1.Pod, *corev1.PodList]
	claims  = resources[corev1.ConfigMap, corev1.ConfigMapList, *corev1.ConfigMap, *corev1.ConfigMapList]
	volumes = resources[corev1.PersistentVolumeClaim, corev1.PersistentVolumeClaimList, *corev1.PersistentVolumeClaim, *corev1.PersistentVolumeClaimList]
	quotas  = resources[corev1.ResourceQuota, corev1.ResourceQuotaList, *corev1.ResourceQuota, *corev1.ResourceQuotaList]
	spaces  = resources[corev1.Namespace, corev1.NamespaceList, *corev1.Namespace, *corev1.NamespaceList]
)

// Pods are those of a namespace; so are the others.
func (c *core) Pods(namespace string) pods         { return pods{c, "pods", namespace} }
func (c *core) ConfigMaps(namespace string) claims { return claims{c, "configmaps", namespace} }
func (c *core) PersistentVolumeClaims(namespace string) volumes {
	return volumes{c, "persistentvolumeclaims", namespace}
}
func (c *core) ResourceQuotas(namespace string) quotas {
	return quotas{c, "resourcequotas", namespace}
}
func (c *core) Namespaces() spaces { return spaces{c, "namespaces", ""} }

// version is what the API server says of itself.
func (c *core) version(ctx context.Context) ([]byte, error) {
	return c.client.Get().AbsPath("/version").DoRaw(ctx)
}

// resources are the objects of one kind. Its errors are those of the API.
type resources[T, L any, P object[T], PL object[L]] struct {
	c         *core
	name      string
	namespace string
}

type object[T any] interface {
	*T
	runtime.Object
}

func (r resources[T, L, P, PL]) in(q *rest.Request) *rest.Request {
	return q.NamespaceIfScoped(r.namespace, r.namespace != "").Resource(r.name)
}

// Create makes an object and returns it as it became.
func (r resources[T, L, P, PL]) Create(ctx context.Context, o *T, opts metav1.CreateOptions) (*T, error) {
	made := new(T)
	return made, r.in(r.c.client.Post()).VersionedParams(&opts, r.c.codec).Body(P(o)).Do(ctx).Into(P(made))
}

// Get returns an object.
func (r resources[T, L, P, PL]) Get(ctx context.Context, name string, opts metav1.GetOptions) (*T, error) {
	o := new(T)
	return o, r.in(r.c.client.Get()).Name(name).VersionedParams(&opts, r.c.codec).Do(ctx).Into(P(o))
}

// List returns the objects that the options select.
func (r resources[T, L, P, PL]) List(ctx context.Context, opts metav1.ListOptions) (*L, error) {
	l := new(L)
	return l, r.some(opts).Do(ctx).Into(PL(l))
}

// ListOnce is List by one request: for who asks again by itself. Others are sent up to eleven, one a second, while the API server closes
// connections or asks for patience.
func (r resources[T, L, P, PL]) ListOnce(ctx context.Context, opts metav1.ListOptions) (*L, error) {
	l := new(L)
	return l, r.some(opts).MaxRetries(0).Do(ctx).Into(PL(l))
}

// noWatch is what the client library returns for a watch in the place of some errors: one that has ended already.
var noWatch = reflect.TypeOf(watch.NewEmptyWatch())

// Watch shows the changes of the objects that the options select. It has begun when there is no error: the API server has answered.
func (r resources[T, L, P, PL]) Watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	opts.Watch = true
	w, err := r.some(opts).MaxRetries(0).Watch(ctx)
	if err == nil && reflect.TypeOf(w) == noWatch {
		return nil, errors.New("the connection was closed, or not made in time, before the API server answered")
	}
	return w, err
}

func (r resources[T, L, P, PL]) some(opts metav1.ListOptions) *rest.Request {
	return r.in(r.c.client.Get()).VersionedParams(&opts, r.c.codec).Timeout(timeout(opts))
}

// Patch changes an object.
func (r resources[T, L, P, PL]) Patch(ctx context.Context, name string, kind types.PatchType, data []byte, opts metav1.PatchOptions) (*T, error) {
	o := new(T)
	return o, r.in(r.c.client.Patch(kind)).Name(name).VersionedParams(&opts, r.c.codec).Body(data).Do(ctx).Into(P(o))
}

// Delete deletes an object.
func (r resources[T, L, P, PL]) Delete(ctx context.Context, name string, opts metav1.DeleteOptions) error {
	return r.in(r.c.client.Delete()).Name(name).Body(&opts).Do(ctx).Error()
}

func timeout(o metav1.ListOptions) time.Duration {
	if o.TimeoutSeconds == nil {
		return 0
	}
	return time.Duration(*o.TimeoutSeconds) * time.Second
}

// NamespaceUID is the UID of a namespace, as the API server says it now. Errors are those of the API.
func NamespaceUID(ctx context.Context, of *rest.Config, name string) (types.UID, error) {
	c, err := newCore(of)
	if err != nil {
		return "", err
	}
	n, err := c.Namespaces().Get(ctx, name, metav1.GetOptions{})
	if err == nil && n.UID == "" {
		err = fmt.Errorf("%s has no UID", name)
	}
	if err != nil {
		return "", err
	}
	return n.UID, nil
}
