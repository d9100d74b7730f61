package testcluster

import (
	"context"
	"fmt"
)

// Components that are killed and started again.
const (
	Kubelet    = "kubelet"
	Containerd = "containerd"
	APIServer  = "kube-apiserver"
)

// backend is how one cluster was made, and how it is broken: source, from programs built here, and kind, whose nodes are
// containers.
type backend interface {
	// cut makes the partition of Cluster.Cut, heal undoes it. Both may be repeated.
	cut(ctx context.Context) error
	heal(ctx context.Context) error
	// kill ends a component and returns when it is gone. Repeated it does nothing.
	kill(component string) error
	// revive starts a component that was killed and returns when it does its work.
	revive(ctx context.Context, component string) error
	// load gives the node an image; the archive is not read after it has returned.
	load(ctx context.Context, archive string) error
	// registry gives the node a file of what it is to know of a registry.
	registry(ctx context.Context, host, hosts string) error
	// killNode ends everything that runs on the node, startNode starts it again and returns when the node is ready.
	killNode(ctx context.Context) error
	startNode(ctx context.Context) error
	// ofPods says of a line of a process's control groups whether it is of a pod of this cluster.
	ofPods(group string) bool
	// logs copies the logs of components and pods into a folder.
	logs(ctx context.Context, dir string) error
}

var _ backend = (*source)(nil)

func (c *source) cut(ctx context.Context) error  { return c.network.cut(ctx, c.index) }
func (c *source) heal(ctx context.Context) error { return c.network.heal(ctx, c.index) }

func (c *source) revive(ctx context.Context, component string) error {
	switch component {
	case Kubelet:
		return c.startKubelet(ctx)
	case Containerd:
		return c.startContainerd(ctx)
	case APIServer:
		return c.startAPI(ctx)
	}
	return fmt.Errorf("%s of %s is not started by itself", component, c.Name)
}

func (c *source) ofPods(group string) bool {
	return inGroup(group, c.names.cgroup()+"/"+c.Name+"/kubepods")
}
