package arch

import (
	"fmt"
	"slices"
)

// heavyClients are packages of the client library that bring every group of the Kubernetes API, or ask without types.
var heavyClients = []string{"k8s.io/client-go/kubernetes", "k8s.io/client-go/informers", "k8s.io/client-go/dynamic"}

// lightFolders are what runs in member clusters, once in each.
var lightFolders = []string{"spoke", "cmd/nave-spoke"}

// ownClients may import heavy clients in a light folder.
var ownClients = []exemption{
	{"spoke/kube/tenant", "TO BE DELETED when keeper.go asks without the dynamic client"},
}

// Clients: a spoke asks the API server by clients of the groups that it needs, which cost 12 to 40 MiB of memory less than those of all.
func Clients(t Tree) []Violation {
	var vs []Violation
	needed, excused := make(map[string]bool), make(map[string]bool)
	for _, f := range t.Files {
		if !slices.ContainsFunc(lightFolders, func(folder string) bool { return under(f.Dir, folder) }) {
			continue
		}
		for _, i := range f.Imports {
			heavy := heavyClient(i.Path)
			if heavy == "" {
				continue
			}
			if e := slices.IndexFunc(ownClients, func(e exemption) bool { return under(f.Dir, e.folder) }); e >= 0 {
				needed[ownClients[e].folder], excused[heavy] = true, true
				continue
			}
			vs = append(vs, Violation{f.Path, i.Line, fmt.Sprintf("imports %s; a spoke has a client of its own for the groups that it needs, see spoke/kube/core.go", i.Path)})
		}
	}
	for _, folder := range lightFolders {
		for _, pkg := range t.Links[folder] {
			if heavy := heavyClient(pkg); heavy != "" && !excused[heavy] {
				vs = append(vs, Violation{folder, 0, fmt.Sprintf("links %s; a spoke has a client of its own for the groups that it needs", pkg)})
			}
		}
	}
	for _, e := range ownClients {
		if t.has(e.folder) && !needed[e.folder] {
			vs = append(vs, Violation{e.folder, 0, "imports no heavy client; take its exemption out of internal/arch/clients.go"})
		}
	}
	return sorted(vs)
}

// heavyClient is the heavy client that a package is of, or "".
func heavyClient(pkg string) string {
	if i := slices.IndexFunc(heavyClients, func(heavy string) bool { return under(pkg, heavy) }); i >= 0 {
		return heavyClients[i]
	}
	return ""
}
