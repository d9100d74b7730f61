package tenant

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/nave-dev/nave/api"
)

// remedies for what an operator must do, by kind.
var remedies = map[string]string{
	"Namespace":   "make the cluster role of a spoke that manages namespaces (settings.namespaces.manage of the chart)",
	"RoleBinding": "let the spoke bind the cluster roles " + RoleSessions + " and " + RoleTenant + "; a binding of these names to another role must be deleted",
}

// Apply makes the namespace and what belongs into it, or repairs it. It may be repeated at any time. CodeInvalid for a spec that is
// wrong; CodeExists when the namespace is not ours; CodeDenied when a right is missing; CodeUnavailable when the API server does not
// answer or the namespace is being deleted.
func (k *Keeper) Apply(ctx context.Context, s Spec) error {
	if !s.Manage {
		return api.Invalid("manage", "the spoke does not manage namespaces: an operator makes %s, or sets namespaces.manage", s.Namespace)
	}
	objects, err := Objects(s)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, applyLimit, fmt.Errorf("the API server took longer than %v", applyLimit))
	defer cancel()
	for _, o := range objects {
		u, err := configuration(o)
		if err != nil {
			return err
		}
		switch u.GetKind() {
		case "Namespace":
			err = k.namespace(ctx, u)
		case "RoleBinding":
			err = k.apply(ctx, u)
		case "NetworkPolicy":
			err = k.retried(ctx, u, k.policy)
		default:
			err = k.retried(ctx, u, k.apply)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// namespace makes the namespace, or repairs one that is ours.
func (k *Keeper) namespace(ctx context.Context, want *unstructured.Unstructured) error {
	op, organization := "make namespace "+want.GetName(), want.GetLabels()[LabelOrganization]
	cluster := want.GetLabels()[LabelCluster]
	is, err := k.at(want).Get(ctx, want.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		// Not by applying, which would take over a namespace that somebody else makes meanwhile.
		is, err = k.at(want).Create(ctx, want, metav1.CreateOptions{FieldManager: Manager})
		if err == nil {
			k.log.Info("made the namespace of an organization", "namespace", want.GetName(), "organization", organization)
		} else if apierrors.IsAlreadyExists(err) {
			is, err = k.at(want).Get(ctx, want.GetName(), metav1.GetOptions{})
		}
	}
	if err != nil {
		return failed(op, err, remedies["Namespace"])
	}
	if err := ours(is, organization, cluster); err != nil {
		return &api.Error{Code: api.CodeOf(err), Op: op, Err: err}
	}
	want = want.DeepCopy()
	want.SetUID(is.GetUID()) // not the next one of this name
	return k.apply(ctx, want)
}

// ours says why a namespace that exists may not be taken.
func ours(is *unstructured.Unstructured, organization, cluster string) error {
	labels, whose := is.GetLabels(), is.GetLabels()[LabelOrganization]
	kept := labels[LabelManagedBy] == Manager
	switch {
	case is.GetDeletionTimestamp() != nil:
		return api.Errorf(api.CodeUnavailable, "it is being deleted: try again when it is gone")
	case whose != "" && whose != organization:
		return api.Errorf(api.CodeExists, "it belongs to organization %q: give %q another namespace", whose, organization)
	case kept && whose == organization && labels[LabelCluster] == cluster, is.GetAnnotations()[AnnotationAdopt] == organization:
		return nil
	case kept:
		return api.Errorf(api.CodeExists, "it is kept by the spoke of cluster %q: give the namespaces of this one another prefix, or hand it over by the annotation %s=%s",
			labels[LabelCluster], AnnotationAdopt, organization)
	}
	return api.Errorf(api.CodeExists, "it exists and is not the spoke's: give %q another namespace, or hand this one over by the annotation %s=%s",
		organization, AnnotationAdopt, organization)
}

// retried applies what the spoke may write since it bound a role, which each API server learns a moment later.
func (k *Keeper) retried(ctx context.Context, u *unstructured.Unstructured, apply func(context.Context, *unstructured.Unstructured) error) error {
	until := time.Now().Add(rightLimit)
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := apply(ctx, u)
		if api.CodeOf(err) != api.CodeDenied || time.Now().Add(pause).After(until) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// policy applies a network policy. A direction of which it says nothing is nobody's: where somebody allows something there, that
// must be said to be nothing. It is said then only, because an API server does not keep an empty list and would write it anew each time.
func (k *Keeper) policy(ctx context.Context, u *unstructured.Unstructured) error {
	is, err := k.at(u).Get(ctx, u.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return k.apply(ctx, u)
	case err != nil:
		return failed(fmt.Sprintf("read NetworkPolicy %s/%s", u.GetNamespace(), u.GetName()), err, "")
	}
	for _, direction := range []string{"ingress", "egress"} {
		_, wanted, _ := unstructured.NestedFieldNoCopy(u.Object, "spec", direction)
		if _, there, _ := unstructured.NestedFieldNoCopy(is.Object, "spec", direction); there && !wanted {
			u = u.DeepCopy()
			if err := unstructured.SetNestedSlice(u.Object, []any{}, "spec", direction); err != nil {
				return fmt.Errorf("render NetworkPolicy %s: %w", u.GetName(), err)
			}
		}
	}
	return k.apply(ctx, u)
}

// apply makes the object what it should be, whoever else wrote it.
func (k *Keeper) apply(ctx context.Context, u *unstructured.Unstructured) error {
	_, err := k.at(u).Apply(ctx, u.GetName(), u, metav1.ApplyOptions{FieldManager: Manager, Force: true})
	if err != nil {
		return failed(fmt.Sprintf("apply %s %s/%s", u.GetKind(), u.GetNamespace(), u.GetName()), err, remedies[u.GetKind()])
	}
	return nil
}
