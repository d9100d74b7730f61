package testcluster

import (
	"context"
	"fmt"
)

// Components of a node that are killed and started again.
const (
	Kubelet    = "kubelet"
	Containerd = "containerd"
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
	}
	return fmt.Errorf("%s of %s is not started by itself", component, c.Name)
}
