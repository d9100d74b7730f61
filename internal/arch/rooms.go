package arch

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// room says what the packages of a folder may import of ours, and from elsewhere.
//
// The row with the longest folder counts. "hub/*" stands for every folder directly in hub that has no row of its own;
// packages of one such folder may import each other. In the lists a plain folder is that package alone, "x/..." is x and
// everything below it. A test may import its own package, everything under the same top folder, conformance suites
// (folders that end in "test"), the simulated network, internal/..., and what the row adds for tests.
type room struct {
	folder string
	ours   []string
	tests  []string
	others []string // prefixes of modules from elsewhere; nil: any, empty: the standard library only
}

// shared may be used by everything but api and the cores. internal/run owns goroutines, ulid makes ids, fault plants faults,
// unixsocket says who calls.
var shared = []string{"internal/run", "internal/boottime", "internal/fault", "internal/ulid", "internal/version", "internal/realpart", "internal/unixsocket"}

var (
	stdlib    = []string{}
	generated = []string{"google.golang.org/protobuf", "google.golang.org/grpc", "google.golang.org/genproto", "connectrpc.com/connect"}
)

// rooms is the section "Who may import whom" of the architecture.
var rooms = []room{
	{folder: ".", others: nil}, // pins of dependencies; nothing of ours
	{folder: "api", others: stdlib},
	{folder: "api/navev1", ours: list("api", "api/navev1/..."), others: generated},

	{folder: "placement", ours: list("api"), others: stdlib},
	{folder: "authz", ours: list("api")},
	{folder: "authz/fga", ours: list("api", "authz", shared)},

	{folder: "transport", ours: list("api", "api/navev1", "transport/linkv1", shared)},
	{folder: "transport/linkv1", ours: list("api/navev1"), others: generated},
	{folder: "transport/*", ours: list("api", "api/navev1", "transport", "transport/linkv1", shared)},
	{folder: "transport/ziti/overlay"}, // a module of its own

	{folder: "hub", ours: list("api", "placement", shared), tests: list("api/navev1")},
	{folder: "hub/*", ours: list("api", "api/navev1/...", "hub", "internal/...")},
	{folder: "hub/dashboard", ours: list("api", "api/navev1/...", "hub", "hub/dashboard/...", "console", "internal/...")},
	{folder: "hub/store/recordv1", ours: list("api/navev1"), others: generated},

	{folder: "spoke", ours: list("api", "spoke/journalv1", shared)},
	{folder: "spoke/*", ours: list("api", "api/navev1", "spoke", "spoke/description", "spoke/harness/harnessv1", shared)},
	{folder: "spoke/harness/acp", ours: list("api", "internal/run"), others: list("github.com/coder/acp-go-sdk")},
	{folder: "spoke/harness/harnessv1", ours: list("api/navev1"), others: generated},
	{folder: "spoke/harness/checkpoint", ours: list("api", "internal/run", "spoke/harness/checkpoint/manifestv1")},
	{folder: "spoke/harness/checkpoint/manifestv1", others: generated},
	{folder: "spoke/journalv1", ours: list("api/navev1"), others: generated},

	{folder: "docs", others: stdlib},
	{folder: "provider", ours: list("api", "hub/client", shared), tests: list("hub/...", "spoke/...", "transport/...")},
	{folder: "console", others: stdlib},
	{folder: "cmd", ours: list("...")},
	{folder: "kind-tests", ours: list("...")},
	{folder: "examples", tests: list("api", "spoke/harness/acp")}, // stand-alone programs, as a user would write them
	{folder: "tools"},                                             // a module of its own

	{folder: "internal", ours: list("...")}, // sim, demo and golden see everything
	{folder: "internal/run", others: stdlib},
	{folder: "internal/ulid"},
	{folder: "internal/version", others: stdlib},
	{folder: "internal/realpart", ours: list("internal/realpart/..."), others: stdlib},
	{folder: "internal/arch", others: stdlib},
}

// list makes one list of folders from folders and lists of them.
func list(parts ...any) []string {
	var all []string
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			all = append(all, p)
		case []string:
			all = append(all, p...)
		}
	}
	return all
}

// roomOf returns the row for a folder.
func roomOf(dir string) (room, bool) {
	for at := dir; ; at = path.Dir(at) {
		if i := slices.IndexFunc(rooms, func(r room) bool { return r.folder == at }); i >= 0 && (at != "." || dir == ".") {
			return rooms[i], true
		}
		star := path.Join(path.Dir(at), "*")
		if i := slices.IndexFunc(rooms, func(r room) bool { return r.folder == star }); i >= 0 {
			r := rooms[i]
			r.ours = list(r.ours, at+"/...")
			return r, true
		}
		if at == "." {
			return room{}, false
		}
	}
}

// allowed tells whether a list names the folder.
func allowed(names []string, dir string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		if name == "..." {
			return true
		}
		if folder, all := strings.CutSuffix(name, "/..."); all {
			return under(dir, folder)
		}
		return dir == name
	})
}

// Imports: each room imports what its row in the table allows.
func Imports(t Tree) []Violation {
	var vs []Violation
	for _, f := range t.Files {
		r, ok := roomOf(f.Dir)
		if !ok {
			vs = append(vs, Violation{f.Path, 0, "its folder is in no row of internal/arch/rooms.go; a new room needs one"})
			continue
		}
		for _, i := range f.Imports {
			if text := r.refuses(f, i); text != "" {
				vs = append(vs, Violation{f.Path, i.Line, text})
			}
		}
	}
	return sorted(vs)
}

// refuses returns why the file may not import the package, or "".
func (r room) refuses(f *File, i Import) string {
	dir, ours := i.Ours()
	switch {
	case !ours && (r.others == nil || f.Test || standard(i.Path)):
		return ""
	case !ours:
		for _, prefix := range r.others {
			if under(i.Path, prefix) {
				return ""
			}
		}
		return fmt.Sprintf("imports %s; %s may import %s", i.Path, r.folder, orNothing(r.others, "of others the standard library only"))
	case dir == f.Dir || allowed(r.ours, dir):
		return ""
	case f.Test && (allowed(r.tests, dir) || testMay(f.Dir, dir)):
		return ""
	}
	return fmt.Sprintf("imports %s; of ours %s may import %s", dir, r.folder, orNothing(r.ours, "nothing"))
}

// testMay tells what every test may import, whatever its room.
func testMay(from, dir string) bool {
	top, _, _ := strings.Cut(from, "/")
	return top != "." && under(dir, top) || strings.HasSuffix(dir, "test") || dir == "transport/simnet" || under(dir, "internal")
}

func orNothing(names []string, nothing string) string {
	if len(names) == 0 {
		return nothing
	}
	return strings.Join(names, ", ")
}

// Programs: nothing imports cmd.
func Programs(t Tree) []Violation {
	var vs []Violation
	for _, f := range t.Files {
		for _, i := range f.Imports {
			if dir, ours := i.Ours(); ours && slices.Contains(strings.Split(dir, "/"), "cmd") {
				vs = append(vs, Violation{f.Path, i.Line, "imports " + dir + "; programs are imported by nothing"})
			}
		}
	}
	return sorted(vs)
}
