package arch

import (
	"fmt"
	"slices"
)

// heavyClients are packages of the client library that bring every group of the Kubernetes API, or ask without types.
var heavyClients = []string{"k8s.io/client-go/kubernetes", "k8s.io/client-go/informers", "k8s.io/client-go/dynamic"}

// lightFolders are what runs in member clusters, once in each.
var lightFolders = []string{"spoke", "cmd/nave-spoke"}

// Clients: a spoke asks the API server by clients of the groups that it needs, which cost 12 to 40 MiB of memory less than those of all.
func Clients(t Tree) []Violation {
	var vs []Violation
	for _, f := range t.Files {
		if !slices.ContainsFunc(lightFolders, func(folder string) bool { return under(f.Dir, folder) }) {
			continue
		}
		for _, i := range f.Imports {
			if heavyClient(i.Path) {
				vs = append(vs, Violation{f.Path, i.Line, fmt.Sprintf("imports %s; a spoke has a client of its own for the groups that it needs, see spoke/kube/core.go", i.Path)})
			}
		}
	}
	for _, folder := range lightFolders {
		for _, pkg := range t.Links[folder] {
			if heavyClient(pkg) {
				vs = append(vs, Violation{folder, 0, fmt.Sprintf("links %s; a spoke has a client of its own for the groups that it needs", pkg)})
			}
		}
	}
	return sorted(vs)
}

// heavyClient reports whether a package is of a heavy client.
func heavyClient(pkg string) bool {
	return slices.ContainsFunc(heavyClients, func(heavy string) bool { return under(pkg, heavy) })
}
