package testcluster

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
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

	// Root is the folder that holds the folders of all beds of this user; it must be an absolute path of at most 24 bytes, because
	// paths of sockets end at 107 and those of shims at 42 before their names. Beds see each other only in the same one.
	// Default: /tmp/nave-bed.UID.
	Root string
}

func (c *Config) validate() error {
	if c.Root == "" {
		c.Root = defaultRoot()
	}
	switch {
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
