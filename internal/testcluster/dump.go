package testcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

// dumpLimit bounds the questions to an API server that may be what is broken.
const dumpLimit = 20 * time.Second

// Dump writes what is known of each cluster into dir/NAME: the logs of its components and of its pods, and all objects but
// secrets. What can be had is written even when the rest cannot.
func (b *Bed) Dump(ctx context.Context, dir string) error {
	var errs []error
	for _, c := range b.Clusters {
		errs = append(errs, c.Dump(ctx, filepath.Join(dir, c.Name)))
	}
	return errors.Join(errs...)
}

// Dump is [Bed.Dump] for one cluster.
func (c *Cluster) Dump(ctx context.Context, dir string) error {
	errs := []error{c.backend.logs(ctx, dir)}
	if c.Client != nil {
		errs = append(errs, c.dumpObjects(ctx, filepath.Join(dir, "objects")))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("dump %s: %w", c.Name, err)
	}
	return nil
}

func (c *source) logs(_ context.Context, dir string) error {
	var errs []error
	for _, kind := range []string{"log", "pods"} { // of components, of pods: folder NAMESPACE_NAME_UID/CONTAINER
		from := filepath.Join(c.Dir, kind)
		if exists(from) { // else the cluster did not come that far
			errs = append(errs, copyFolder(filepath.Join(dir, kind), from))
		}
	}
	return errors.Join(errs...)
}

// copyFolder copies regular files; links of pods' logs point at files that are copied too.
func copyFolder(to, from string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(to); err != nil { // of an earlier run
		return err
	}
	return os.CopyFS(to, os.DirFS(from))
}

func (c *Cluster) dumpObjects(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, dumpLimit)
	defer cancel()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(c.Rest)
	if err != nil {
		return err
	}
	lists, err := discovery.ServerPreferredResources(c.Client.Discovery())
	errs := []error{err} // of one group; the others are listed
	for _, list := range lists {
		group, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, r := range list.APIResources {
			if !slices.Contains(r.Verbs, "list") || r.Name == "secrets" || ctx.Err() != nil {
				continue
			}
			errs = append(errs, dumpKind(ctx, client, group.WithResource(r.Name), dir))
		}
	}
	return errors.Join(errs...)
}

// dumpKind writes the objects of one kind, when there are any.
func dumpKind(ctx context.Context, client dynamic.Interface, kind schema.GroupVersionResource, dir string) error {
	objects, err := client.Resource(kind).List(ctx, metav1.ListOptions{})
	if err != nil || len(objects.Items) == 0 {
		return err
	}
	text, err := yaml.Marshal(objects)
	if err != nil {
		return err
	}
	name := kind.Resource
	if kind.Group != "" {
		name += "." + kind.Group
	}
	return os.WriteFile(filepath.Join(dir, name+".yaml"), text, 0o644)
}
