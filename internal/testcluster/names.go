package testcluster

import (
	"fmt"
	"path/filepath"
)

// names are those of one bed. All of them hold its id.
type names struct {
	root, id string
}

func (n names) dir() string { return filepath.Join(n.root, n.id) }

// cloud is what a cluster is called in paths and names: c1, c2, …
func cloud(i int) string { return fmt.Sprintf("c%d", i+1) }

// Interfaces and namespaces of the host. An interface's name has at most 15 bytes.
func (n names) linkPrefix() string        { return "nv" + n.id }
func (n names) bridge() string            { return n.linkPrefix() + "br" }
func (n names) hubLink(i int) string      { return n.linkPrefix() + cloud(i) }       // of the cloud's way to the hub, the host's end
func (n names) adminLink(i int) string    { return n.linkPrefix() + "a" + cloud(i) } // of the test's way into the cloud, the host's end
func (n names) netnsPrefix() string       { return "nave-" + n.id + "-" }
func (n names) netns(i int) string        { return n.netnsPrefix() + cloud(i) }
func (n names) netnsPath(i int) string    { return filepath.Join(netnsDir, n.netns(i)) }
func (n names) cgroup() string            { return "nave-" + n.id } // below the root of each hierarchy
func (n names) clusterDir(i int) string   { return filepath.Join(n.dir(), cloud(i)) }
func (n names) environment() (env string) { return BedEnv + "=" + n.id }

// netnsDir is where ip keeps the names of network namespaces.
const netnsDir = "/run/netns"
