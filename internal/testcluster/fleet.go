package testcluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nave-dev/nave/internal/run"
)

// fakeLabel marks the nodes for which kwok answers.
const fakeLabel = "fleet.nave.dev/alive"

// kwokConfig: %[1]d is how many objects are written at the same time. Nothing is left to defaults: kwok does not fill up what a file
// has begun.
const kwokConfig = `kind: KwokConfiguration
apiVersion: config.kwok.x-k8s.io/v1alpha1
options:
  podPlayStageParallelism: %[1]d
  nodePlayStageParallelism: %[1]d
  nodeLeaseParallelism: %[1]d
  podsOnNodeSyncParallelism: 4
  enablePodsOnNodeSyncListPager: true
  enablePodsOnNodeSyncStreamWatch: false
`

const kwokWriters = 16

// StartFleet brings up a control plane with controllers and a scheduler, and kwok, which says for its nodes and their pods what
// kubelets would say: for thousands of pods that nobody runs. A pod on a fake node becomes ready at once, goes when it is deleted, and
// otherwise meets the [Fate] of its annotations; it has no processes and no log. It needs no root. Of the config, Clusters is not looked at.
func StartFleet(ctx context.Context, cfg Config) (*Bed, error) {
	b, c, err := startLoopback(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := c.startFleet(ctx, b.cfg.Nodes); err != nil {
		return nil, b.failed(ctx, err)
	}
	return b, nil
}

func (c *source) startFleet(ctx context.Context, nodes int) error {
	if err := c.startControllers(ctx); err != nil {
		return err
	}
	if err := c.startKwok(); err != nil {
		return err
	}
	g := run.NewGroup(ctx)
	for i := range nodes {
		g.Go("make a node", func(ctx context.Context) error {
			_, err := c.Client.CoreV1().Nodes().Create(ctx, FakeNode(fmt.Sprintf("f%d", i+1)), metav1.CreateOptions{})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return c.await(ctx, "kwok", "the fake nodes", func(ctx context.Context) error {
		all, err := c.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: fakeLabel})
		if err != nil {
			return err
		}
		ready := 0
		for i := range all.Items {
			if nodeReady(&all.Items[i]) == corev1.ConditionTrue && len(all.Items[i].Spec.Taints) == 0 {
				ready++
			}
		}
		if ready < nodes {
			return fmt.Errorf("%d of %d nodes are ready", ready, nodes)
		}
		return nil
	})
}

func (c *source) startKwok() error {
	config := filepath.Join(c.Dir, "kwok.yaml")
	stages, err := os.ReadFile(c.bin.path("kwok-stages.yaml"))
	if err != nil {
		return err
	}
	all := strings.Join([]string{fmt.Sprintf(kwokConfig, kwokWriters), string(stages), string(fateStages)}, "\n---\n")
	if err := os.WriteFile(config, []byte(all), 0o644); err != nil {
		return err
	}
	return c.start("kwok", "--config", config, "--kubeconfig", filepath.Join(c.Dir, "kwok.kubeconfig"),
		"--manage-all-nodes=false", "--manage-nodes-with-label-selector="+fakeLabel, "--cidr="+podNet, "--node-ip=127.0.0.1",
		fmt.Sprintf("--node-lease-duration-seconds=%d", c.cfg.leaseSeconds()))
}

// FakeNode is a node that kwok answers for, once it is made in a fleet. Tests may change it before.
func FakeNode(name string) *corev1.Node {
	has := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("64"), corev1.ResourceMemory: resource.MustParse("256Gi"),
		corev1.ResourcePods: resource.MustParse("500"), corev1.ResourceEphemeralStorage: resource.MustParse("1Ti"),
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Labels:      map[string]string{fakeLabel: "yes", corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64"},
			Annotations: map[string]string{"node.alpha.kubernetes.io/ttl": "0"},
		},
		Status: corev1.NodeStatus{Capacity: has, Allocatable: has},
	}
}

// LoseNode makes nobody answer for a fake node and its pods any more, as when the machine is cut off. The controller manager
// notices after Config.NodeGrace.
func (c *Cluster) LoseNode(ctx context.Context, node string) error {
	return c.patchNode(ctx, node, `{"metadata":{"labels":{"`+fakeLabel+`":null}}}`)
}

// FindNode undoes LoseNode.
func (c *Cluster) FindNode(ctx context.Context, node string) error {
	return c.patchNode(ctx, node, `{"metadata":{"labels":{"`+fakeLabel+`":"yes"}}}`)
}

func (c *Cluster) patchNode(ctx context.Context, node, patch string) error {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	_, err := c.Client.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

// nodeReady is the node's condition of that name.
func nodeReady(node *corev1.Node) corev1.ConditionStatus {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status
		}
	}
	return corev1.ConditionUnknown
}

// leaseSeconds is for how long a node's sign of life is good; it renews it after a quarter.
func (c Config) leaseSeconds() int {
	if c.NodeGrace == 0 {
		return 40 // as Kubernetes has it
	}
	return int(c.NodeGrace / time.Second)
}
