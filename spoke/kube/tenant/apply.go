package tenant

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/nave-dev/nave/api"
)

// remedies for what an operator must do, by kind.
var remedies = map[string]string{
	"Namespace":   "make the cluster role of a spoke that manages namespaces (settings.namespaces.manage of the chart)",
	"RoleBinding": "let the spoke bind the cluster roles " + RoleSessions + " and " + RoleTenant + "; a binding of these names to another role must be deleted",
}

// Apply makes the namespace and what belongs into it, or repairs it. It may be repeated at any time: of an object that is as the last Apply of
// this keeper left it it costs one question, and no write. What it repairs it logs. CodeInvalid for a spec that is wrong; CodeExists
// when the namespace is not ours; CodeDenied when a right is missing; CodeUnavailable when the API server does not answer or the
// namespace is being deleted.
func (k *Keeper) Apply(ctx context.Context, s Spec) error { return k.keep(ctx, s, true) }

// Repair is Apply to a namespace that exists. CodeNotFound when it does not.
func (k *Keeper) Repair(ctx context.Context, s Spec) error { return k.keep(ctx, s, false) }

func (k *Keeper) keep(ctx context.Context, s Spec, create bool) error {
	if !s.Manage {
		return api.Invalid("manage", "the spoke does not manage namespaces: an operator makes %s, or sets namespaces.manage", s.Namespace)
	}
	objects, err := Objects(s)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, applyLimit, fmt.Errorf("the API server took longer than %v", applyLimit))
	defer cancel()
	given := false // rights, which each API server learns a moment later
	for _, o := range objects {
		want, err := configuration(o)
		if err != nil {
			return err
		}
		switch want.GetKind() {
		case "Namespace":
			err = k.namespace(ctx, want, create)
		case "RoleBinding":
			var wrote bool
			wrote, err = k.object(ctx, want)
			given = given || wrote
		default:
			err = k.retried(ctx, want, given)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// namespace makes the namespace, or repairs one that is ours.
func (k *Keeper) namespace(ctx context.Context, want *unstructured.Unstructured, create bool) error {
	op, organization := "make namespace "+want.GetName(), want.GetLabels()[LabelOrganization]
	cluster := want.GetLabels()[LabelCluster]
	is, err := k.client.get(ctx, want)
	if apierrors.IsNotFound(err) && create {
		// Not by applying, which would take over a namespace that somebody else makes meanwhile.
		is, err = k.client.create(ctx, want, false)
		if err == nil {
			k.log.Info("made the namespace of an organization", "namespace", want.GetName(), "organization", organization)
			k.Forget(want.GetName()) // another one of this name
		} else if apierrors.IsAlreadyExists(err) {
			is, err = k.client.get(ctx, want)
		}
	}
	switch {
	case apierrors.IsNotFound(err) && !create:
		return &api.Error{Code: api.CodeNotFound, Op: "repair namespace " + want.GetName(), Err: err}
	case err != nil:
		return failed(op, err, remedies["Namespace"])
	}
	if err := ours(is, organization, cluster); err != nil {
		return &api.Error{Code: api.CodeOf(err), Op: op, Err: err}
	}
	_, err = k.bring(ctx, is, want)
	return err
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

// retried looks after an object, again for a while where the right to it was given just now.
func (k *Keeper) retried(ctx context.Context, want *unstructured.Unstructured, given bool) error {
	until := time.Now().Add(rightLimit)
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		_, err := k.object(ctx, want)
		if !given || api.CodeOf(err) != api.CodeDenied || time.Now().Add(pause).After(until) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// object makes an object of the namespace what it should be, and tells whether it wrote.
func (k *Keeper) object(ctx context.Context, want *unstructured.Unstructured) (wrote bool, err error) {
	is, err := k.client.get(ctx, want)
	if err != nil && !apierrors.IsNotFound(err) {
		return false, failed(fmt.Sprintf("read %s", name(want)), err, remedies[want.GetKind()])
	}
	return k.bring(ctx, is, want)
}

// bring applies what an object should be to what it is, nil when there is none, unless it is as the last Apply left it.
func (k *Keeper) bring(ctx context.Context, is, want *unstructured.Unstructured) (wrote bool, err error) {
	wanted := digest(want.Object)
	last, known := k.remembered(want)
	if is != nil && known && last == (left{wanted, digest(content(is))}) {
		return false, nil
	}
	now, err := k.client.apply(ctx, precise(is, want))
	if err != nil {
		return false, failed("apply "+name(want), err, remedies[want.GetKind()])
	}
	k.remember(want, left{wanted, digest(content(now))})
	k.tell(is, now, known && last.wanted == wanted)
	return true, nil
}

// precise is what is applied to an object. A namespace is that one and not the next one of its name. A direction of which a network policy says
// nothing is nobody's: where somebody allows something there, that must be said to be nothing. It is said then only, because an
// API server does not keep an empty list and would write it anew each time.
func precise(is, want *unstructured.Unstructured) *unstructured.Unstructured {
	if is == nil {
		return want
	}
	want = want.DeepCopy()
	switch want.GetKind() {
	case "Namespace":
		want.SetUID(is.GetUID())
	case "NetworkPolicy":
		for _, direction := range []string{"ingress", "egress"} {
			_, wanted, _ := unstructured.NestedFieldNoCopy(want.Object, "spec", direction)
			if _, there, _ := unstructured.NestedFieldNoCopy(is.Object, "spec", direction); there && !wanted {
				want.Object["spec"].(map[string]any)[direction] = []any{}
			}
		}
	}
	return want
}

// name is kind, namespace and name of an object.
func name(u *unstructured.Unstructured) string {
	if u.GetNamespace() == "" {
		return u.GetKind() + " " + u.GetName()
	}
	return u.GetKind() + " " + u.GetNamespace() + "/" + u.GetName()
}
