package testcluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// drainLimit bounds a drain whose caller would wait longer, and drainLook is how often what a budget forbids is asked for again.
const (
	drainLimit = 5 * time.Minute
	drainLook  = 500 * time.Millisecond
)

// Drain is [Cluster.DrainNode] for the cluster's only node.
func (c *Cluster) Drain(ctx context.Context) error { return c.DrainNode(ctx, c.Node()) }

// Uncordon is [Cluster.UncordonNode] for the cluster's only node.
func (c *Cluster) Uncordon(ctx context.Context) error { return c.UncordonNode(ctx, c.Node()) }

// DrainNode does what kubectl drain --force --delete-emptydir-data --ignore-daemonsets does: it lets no new pod onto the node and evicts
// those that are there, as budgets allow, until they are gone. When the context or five minutes end first, the error names the pods that are
// left, and the node stays cordoned.
func (c *Cluster) DrainNode(ctx context.Context, node string) error {
	c.log.Info("draining a node", "cluster", c.Name, "node", node)
	if err := c.patchNode(ctx, node, `{"spec":{"unschedulable":true}}`); err != nil {
		return fmt.Errorf("cordon %s: %w", node, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, drainLimit, fmt.Errorf("not within %v", drainLimit))
	defer cancel()
	tick := time.NewTicker(drainLook)
	defer tick.Stop()
	asked := make(map[string]bool) // uids whose eviction was allowed
	for {
		left, err := c.evictAll(ctx, node, asked)
		if err == nil && len(left) == 0 {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("drain %s: %w", node, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("drain %s: %w; left: %s", node, context.Cause(ctx), strings.Join(left, ", "))
		}
	}
}

// evictAll evicts what a drain takes off the node, and returns what is still there.
func (c *Cluster) evictAll(ctx context.Context, node string, asked map[string]bool) (left []string, err error) {
	pods, err := c.Client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node})
	if err != nil {
		return nil, err
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		if staysOverDrain(p) {
			continue
		}
		name := p.Namespace + "/" + p.Name
		if asked[string(p.UID)] || p.DeletionTimestamp != nil {
			left = append(left, name+" (ending)")
			continue
		}
		err := c.Client.CoreV1().Pods(p.Namespace).EvictV1(ctx, &policyv1.Eviction{
			ObjectMeta:    metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace},
			DeleteOptions: &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(p.UID))},
		})
		switch {
		case err == nil:
			asked[string(p.UID)] = true
			left = append(left, name+" (ending)")
		case apierrors.IsTooManyRequests(err):
			left = append(left, name+" (a budget forbids it)")
		case apierrors.IsNotFound(err), apierrors.IsConflict(err): // gone, or another by the same name: the next look shows
			left = append(left, name)
		default:
			return left, errors.Join(fmt.Errorf("evict %s: %w", name, err), context.Cause(ctx))
		}
	}
	return left, nil
}

// staysOverDrain says of a pod that the node itself made, or a controller that makes one for every node.
func staysOverDrain(p *corev1.Pod) bool {
	if _, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return true
	}
	owner := metav1.GetControllerOf(p)
	return owner != nil && owner.Kind == "DaemonSet"
}

// UncordonNode lets pods onto a node again.
func (c *Cluster) UncordonNode(ctx context.Context, node string) error {
	return c.patchNode(ctx, node, `{"spec":{"unschedulable":null}}`)
}
