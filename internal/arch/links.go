package arch

import (
	"bytes"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// Small are the programs that run in member clusters and on people's machines.
var Small = []string{"cmd/nave-spoke", "cmd/nave-harness", "cmd/nave", "cmd/terraform-provider-nave"}

// servers are what belongs to the hub alone: the etcd server, the OpenFGA server, the Ziti controller.
var servers = []string{"go.etcd.io/etcd/server", "github.com/openfga/openfga", "github.com/openziti/ziti"}

// Links: the small programs link no server.
func Links(t Tree) []Violation {
	var vs []Violation
	for _, program := range Small {
		if !t.has(program) {
			continue
		}
		linked := t.Links[program]
		if len(linked) == 0 {
			vs = append(vs, Violation{program, 0, "what it links is not known"})
		}
		for _, server := range servers {
			i := slices.IndexFunc(linked, func(pkg string) bool { return under(pkg, server) })
			if i >= 0 {
				vs = append(vs, Violation{program, 0, fmt.Sprintf("links %s; %s belongs to the hub alone", linked[i], server)})
			}
		}
	}
	return sorted(vs)
}

// Linked asks the go command what the program in the folder links, in the repository at root.
func Linked(root, folder string) ([]string, error) {
	cmd := exec.Command("go", "list", "-deps", "./"+folder)
	cmd.Dir = root
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list -deps %s: %w: %s", folder, err, problems.Bytes())
	}
	return strings.Fields(string(out)), nil
}
