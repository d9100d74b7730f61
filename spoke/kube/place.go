package kube

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
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
