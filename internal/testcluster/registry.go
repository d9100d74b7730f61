package testcluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// PlainRegistry makes the node ask a registry, as it is written in names of images, without TLS. Others are asked with it.
func (c *Cluster) PlainRegistry(ctx context.Context, host string) error {
	return c.backend.registry(ctx, host, fmt.Sprintf("server = %q\n", "http://"+host))
}

// registry needs no new start of containerd, which reads the file for each pull.
func (c *source) registry(_ context.Context, host, hosts string) error {
	dir := filepath.Join(c.Dir, "registries", host)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(hosts), 0o644)
}
