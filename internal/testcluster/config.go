package testcluster

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// maxClusters is what one bed's subnets have room for; a machine is too small long before.
const maxClusters = 16

// Labels in the environment of every process of a bed. RunEnv is also what a run in CI looks for; a value that is set is kept.
const (
	BedEnv = "NAVE_BED"
	RunEnv = "NAVE_RUN"
)

// Config configures a bed.
type Config struct {
	// Clusters is the number of clouds, 1 to 16. Each takes about half a GiB of memory.
	Clusters int

	// Bin is what Programs built. Required.
	Bin Bin

	// Log gets what happens. Required.
	Log *slog.Logger

	// Logs is a folder that gets what Dump writes when the bed does not come up. Empty: only the end of one log is in the error.
	Logs string

	// Nodes is how many fake nodes StartFleet makes, named f1, f2, …, each with room for 500 pods. Default: 10. At most 1000.
	Nodes int

	// NodeGrace is how long a node may be silent until the controller manager calls it unknown, in whole seconds, at least 4 s.
	// Default: that of Kubernetes, 50 s. Clusters that kind makes have that.
	NodeGrace time.Duration

	// Toleration is how long pods that do not say it themselves stay on a node that is not ready or unknown, in whole seconds,
	// at least 1 s. The controllers delete none while every node is lost: they take themselves for cut off.
	// Default: that of Kubernetes, 300 s. Clusters that kind makes have that.
	Toleration time.Duration

	// Root is the folder that holds the folders of all beds of this user; it must be an absolute path of at most 24 bytes, because
	// paths of sockets end at 107 and those of shims at 42 before their names. Beds see each other only in the same one.
	// Default: /tmp/nave-bed.UID.
	Root string
}

func (c *Config) validate() error {
	if c.Root == "" {
		c.Root = defaultRoot()
	}
	if c.Nodes == 0 {
		c.Nodes = 10
	}
	switch {
	case c.Nodes < 1 || c.Nodes > 1000:
		return fmt.Errorf("config of the test bed: Nodes is %d, want 1 to 1000", c.Nodes)
	case c.NodeGrace != 0 && (c.NodeGrace < 4*time.Second || c.NodeGrace%time.Second != 0):
		return fmt.Errorf("config of the test bed: NodeGrace is %v, want whole seconds, 4 or more", c.NodeGrace)
	case c.Toleration != 0 && (c.Toleration < time.Second || c.Toleration%time.Second != 0):
		return fmt.Errorf("config of the test bed: Toleration is %v, want whole seconds, 1 or more", c.Toleration)
	case c.Clusters < 1 || c.Clusters > maxClusters:
		return fmt.Errorf("config of the test bed: Clusters is %d, want 1 to %d", c.Clusters, maxClusters)
	case c.Bin.Dir == "":
		return errors.New("config of the test bed: Bin is empty; it comes from Programs")
	case c.Log == nil:
		return errors.New("config of the test bed: Log is nil")
	}
	return checkRoot(c.Root)
}

func defaultRoot() string { return "/tmp/nave-bed." + strconv.Itoa(os.Getuid()) }

func checkRoot(root string) error {
	if !filepath.IsAbs(root) || len(root) > 24 {
		return fmt.Errorf("config of the test bed: Root is %q, want an absolute path of at most 24 bytes", root)
	}
	return nil
}
