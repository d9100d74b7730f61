package arch

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// plant is a small tree and what one rule says of it, as "path: part of the text" or "path:line: part of the text".
type plant struct {
	name  string
	files map[string]string
	links map[string][]string
	want  []string
}

// planted holds, for every rule, trees that break it and trees that come close and do not.
var planted = map[string][]plant{
	"imports": {
		{name: "api takes a library", files: src("api/id.go", `import "github.com/google/uuid"`), want: []string{"api/id.go:3: imports github.com/google/uuid"}},
		{name: "api takes the standard library", files: src("api/id.go", `import "strings"`)},
		{name: "api takes a library in a test", files: src("api/id_test.go", `import "github.com/google/go-cmp/cmp"`)},
		{name: "api takes a room in a test", files: src("api/id_test.go", `import "github.com/nave-dev/nave/hub"`), want: []string{"api/id_test.go:3: imports hub"}},
		{name: "api takes run", files: src("api/id.go", `import "github.com/nave-dev/nave/internal/run"`), want: []string{"api/id.go:3: imports internal/run"}},
		{name: "placement takes hub", files: src("placement/decide.go", `import "github.com/nave-dev/nave/hub"`), want: []string{"placement/decide.go:3: imports hub"}},
		{name: "placement takes run", files: src("placement/decide.go", `import "github.com/nave-dev/nave/internal/run"`), want: []string{"placement/decide.go:3: imports internal/run"}},
		{name: "hub takes placement and run", files: src("hub/loop.go", `import ("github.com/nave-dev/nave/placement"; "github.com/nave-dev/nave/internal/run")`)},
		{name: "hub takes its store", files: src("hub/loop.go", `import "github.com/nave-dev/nave/hub/store"`), want: []string{"hub/loop.go:3: imports hub/store"}},
		{name: "hub takes its store in a test", files: src("hub/loop_test.go", `import "github.com/nave-dev/nave/hub/store"`)},
		{name: "store takes its records", files: src("hub/store/put.go", `import "github.com/nave-dev/nave/hub/store/recordv1"`)},
		{name: "suite takes its store", files: src("hub/store/storetest/suite.go", `import "github.com/nave-dev/nave/hub/store"`)},
		{name: "store takes another adapter", files: src("hub/store/put.go", `import "github.com/nave-dev/nave/hub/archive"`), want: []string{"hub/store/put.go:3: imports hub/archive"}},
		{name: "rpc takes connect handlers", files: src("hub/rpc/serve.go", `import "github.com/nave-dev/nave/api/navev1/navev1connect"`)},
		{name: "spoke takes hub in a test", files: src("spoke/loop_test.go", `import "github.com/nave-dev/nave/hub"`), want: []string{"spoke/loop_test.go:3: imports hub"}},
		{name: "journal takes harness messages", files: src("spoke/journal/log.go", `import "github.com/nave-dev/nave/spoke/harness/harnessv1"`)},
		{name: "ziti takes simnet", files: src("transport/ziti/dial.go", `import "github.com/nave-dev/nave/transport/simnet"`), want: []string{"transport/ziti/dial.go:3: imports transport/simnet"}},
		{name: "overlay takes ours", files: src("transport/ziti/overlay/main.go", `import "github.com/nave-dev/nave/internal/run"`), want: []string{"transport/ziti/overlay/main.go:3: imports internal/run"}},
		{name: "provider takes hub", files: src("provider/agent.go", `import "github.com/nave-dev/nave/hub"`), want: []string{"provider/agent.go:3: imports hub"}},
		{name: "generated takes ours", files: src("hub/store/recordv1/r.pb.go", `import "github.com/nave-dev/nave/hub"`), want: []string{"hub/store/recordv1/r.pb.go:3: imports hub"}},
		{name: "generated takes a library", files: src("api/navev1/r.pb.go", `import "github.com/google/uuid"`), want: []string{"api/navev1/r.pb.go:3: imports github.com/google/uuid"}},
		{name: "generated takes protobuf", files: src("api/navev1/r.pb.go", `import "google.golang.org/protobuf/proto"`)},
		{name: "example takes ours", files: src("examples/agents/auditor/main.go", `import "github.com/nave-dev/nave/api"`), want: []string{"examples/agents/auditor/main.go:3: imports api"}},
		{name: "a new room", files: src("gateway/doc.go", ``), want: []string{"gateway/doc.go: its folder is in no row"}},
		{name: "cmd takes anything", files: src("cmd/nave-hub/wire.go", `import ("github.com/nave-dev/nave/hub/store"; "github.com/nave-dev/nave/transport/ziti")`)},
	},
	"programs": {
		{name: "a room", files: src("hub/loop.go", `import "github.com/nave-dev/nave/cmd/nave-hub"`), want: []string{"hub/loop.go:3: imports cmd/nave-hub"}},
		{name: "a test", files: src("internal/sim/sim_test.go", `import "github.com/nave-dev/nave/internal/realpart/cmd/parts"`), want: []string{"internal/sim/sim_test.go:3: imports internal/realpart/cmd/parts"}},
		{name: "a like name", files: src("hub/loop.go", `import "github.com/nave-dev/nave/internal/cmdline"`)},
	},
	"pure": {
		{name: "clock", files: src("placement/decide.go", `import "time"`, `var at = time.Now`), want: []string{"placement/decide.go:4: uses time.Now"}},
		{name: "clock by another name", files: src("api/id.go", `import clock "time"`, `func f() { clock.Sleep(1) }`), want: []string{"api/id.go:4: uses time.Sleep"}},
		{name: "clock without a name", files: src("hub/step.go", `import . "time"`), want: []string{"hub/step.go:3: imports time without a name"}},
		{name: "durations are data", files: src("hub/step.go", `import "time"`, `var d = time.Second; func f(t time.Time) time.Duration { return t.Sub(t) }`)},
		{name: "a variable of that name", files: src("hub/step.go", ``, `func f(time struct{ Now int }) int { return time.Now }`)},
		{name: "network", files: src("hub/step_signal.go", `import "net/http/httptest"`), want: []string{"hub/step_signal.go:3: imports net/http/httptest"}},
		{name: "addresses are data", files: src("spoke/plan.go", `import ("net/netip"; "net/url")`)},
		{name: "files", files: src("spoke/plan.go", `import "os/exec"`), want: []string{"spoke/plan.go:3: imports os/exec"}},
		{name: "logs", files: src("authz/tuples.go", `import ("log"; "log/slog")`), want: []string{"authz/tuples.go:3: imports log/slog;", "authz/tuples.go:3: imports log;"}},
		{name: "locks", files: src("placement/decide.go", `import "sync"`), want: []string{"placement/decide.go:3: imports sync"}},
		{name: "chance", files: src("placement/decide.go", `import ("crypto/rand"; old "math/rand")`, `var _, _ = rand.Reader, old.Int`), want: []string{"placement/decide.go:3: imports crypto/rand", "placement/decide.go:3: imports math/rand"}},
		{name: "chance without a seed", files: src("placement/decide.go", `import "math/rand/v2"`, `var n = rand.IntN(3)`), want: []string{"placement/decide.go:4: uses rand.IntN"}},
		{name: "chance with a seed", files: src("placement/decide.go", `import "math/rand/v2"`, `func f(r *rand.Rand) int { return r.IntN(3) }; var r = rand.New(rand.NewPCG(1, 2))`)},
		{name: "a library", files: src("hub/step.go", `import "google.golang.org/grpc"`), want: []string{"hub/step.go:3: imports google.golang.org/grpc"}},
		{name: "a room", files: src("spoke/plan.go", `import "github.com/nave-dev/nave/internal/run"`), want: []string{"spoke/plan.go:3: imports github.com/nave-dev/nave/internal/run"}},
		{name: "the shell beside it", files: src("hub/loop.go", `import ("os"; "time")`, `var at = time.Now`)},
		{name: "its test", files: src("placement/decide_test.go", `import "os"`)},
		{name: "an adapter below it", files: src("authz/fga/check.go", `import "net"`)},
		{
			name: "what placement reaches",
			files: merge(src("placement/decide.go", `import "github.com/nave-dev/nave/rules"`),
				src("rules/rules.go", `import "github.com/nave-dev/nave/rules/deep"`),
				src("rules/deep/deep.go", `import "os"`)),
			want: []string{"rules/deep/deep.go:3: imports os; placement reaches this package"},
		},
	},
	"goroutines": {
		{name: "statement", files: src("hub/loop.go", ``, `func f() { go f() }`), want: []string{"hub/loop.go:4: go statement"}},
		{name: "in a test", files: src("hub/loop_test.go", ``, `func f() { go f() }`), want: []string{"hub/loop_test.go:4: go statement"}},
		{name: "in a nested module", files: src("tools/testall/main.go", ``, `func f() { go f() }`), want: []string{"tools/testall/main.go:4: go statement"}},
		{name: "errgroup", files: src("hub/loop.go", `import "golang.org/x/sync/errgroup"`, `func f(g *errgroup.Group) { g.Go(nil) }`), want: []string{"hub/loop.go:3: imports errgroup", "hub/loop.go:4: Go of another"}},
		{name: "wait group", files: src("hub/loop.go", `import "sync"`, `func f(wg *sync.WaitGroup) { wg.Go(func() {}) }`), want: []string{"hub/loop.go:4: Go of another"}},
		{name: "owned", files: src("hub/loop.go", `import "github.com/nave-dev/nave/internal/run"`, `func f(g *run.Group) { g.Go("loop", nil) }`)},
		{name: "the owner", files: src("internal/run/run.go", ``, `func f() { go f() }`)},
		{name: "an exemption without need", files: src("transport/ziti/overlay/main.go", ``), want: []string{"transport/ziti/overlay: starts no goroutine"}},
	},
	"skips": {
		{name: "skip", files: src("hub/loop_test.go", `import "testing"`, `func TestA(t *testing.T) { t.Skip("later") }`), want: []string{"hub/loop_test.go:4: Skip;"}},
		{name: "in a suite", files: src("hub/store/storetest/suite.go", `import "testing"`, `func Run(tb testing.TB) { tb.SkipNow() }`), want: []string{"hub/store/storetest/suite.go:4: SkipNow;"}},
		{name: "a drawn case", files: src("hub/loop_test.go", `import ("testing"; "pgregory.net/rapid")`, `func TestA(t *testing.T) { rapid.Check(t, func(t *rapid.T) { t.Skip() }) }`)},
		{name: "not a test", files: src("hub/loop.go", ``, `func f(d interface{ Skip() }) { d.Skip() }`)},
		{name: "realpart", files: src("internal/realpart/need.go", `import "testing"`, `func Need(t testing.TB) { t.Skip() }`)},
	},
	"sleeps": {
		{name: "sleep", files: src("hub/loop_test.go", `import "time"`, `func f() { time.Sleep(1) }`), want: []string{"hub/loop_test.go:4: time.Sleep"}},
		{name: "in a bubble", files: src("hub/loop_test.go", `import ("time"; "testing/synctest")`, `func f() { time.Sleep(1) }`)},
		{name: "not a test", files: src("hub/loop.go", `import "time"`, `func f() { time.Sleep(1) }`)},
	},
	"fuzzing": {
		{name: "a test without a row", files: src("hub/a_test.go", ``, `func FuzzA() {}`), want: []string{"hub/a_test.go:4: FuzzA has no row"}},
		{name: "a row of another package", files: merge(src("hub/a_test.go", ``, `func FuzzA() {}`), page("hub/rpc.FuzzA")), want: []string{"docs/fuzzing.md:3: hub/rpc has no test FuzzA", "hub/a_test.go:4: FuzzA has no row"}},
		{name: "a row without a test", files: page("hub.FuzzA"), want: []string{"docs/fuzzing.md:3: hub has no test FuzzA"}},
		{name: "a test and its row", files: merge(src("hub/a_test.go", ``, `func FuzzA() {}`), page("hub.FuzzA"))},
		{name: "a name beside the table", files: map[string]string{"docs/fuzzing.md": "Run `hub.FuzzA` alone.\n"}},
		{name: "not a test", files: src("hub/a.go", ``, `func FuzzA() {}`)},
		{name: "a decoder", files: src("hub/a.go", `import "encoding/json"`, `var f = json.Unmarshal`), want: []string{"hub/a.go:4: decodes by Unmarshal of encoding/json"}},
		{name: "a decoder under another name", files: src("hub/a.go", `import y "go.yaml.in/yaml/v3"`, `var f = y.NewDecoder`), want: []string{"hub/a.go:4: decodes by NewDecoder"}},
		{name: "yaml", files: src("hub/a.go", `import "go.yaml.in/yaml/v3"`, `var f = yaml.NewDecoder`), want: []string{"hub/a.go:4: decodes by NewDecoder"}},
		{name: "options of a decoder", files: src("hub/a.go", `import "google.golang.org/protobuf/encoding/protojson"`, `var o = protojson.UnmarshalOptions{}`), want: []string{"hub/a.go:4: decodes by UnmarshalOptions"}},
		{name: "an encoder", files: src("hub/a.go", `import "encoding/json"`, `var f = json.Marshal`)},
		{name: "a decoder in a test", files: src("hub/a_test.go", `import "encoding/json"`, `var f = json.Unmarshal`)},
		{name: "a decoder with a row", files: merge(src("hub/a.go", `import "encoding/json"`, `var f = json.Unmarshal`), src("hub/a_test.go", ``, `func FuzzA() {}`), page("hub.FuzzA"))},
		{name: "a row above it", files: merge(src("hub/rpc/a.go", `import "encoding/json"`, `var f = json.Unmarshal`), src("hub/a_test.go", ``, `func FuzzA() {}`), page("hub.FuzzA")), want: []string{"hub/rpc/a.go:4: decodes by"}},
		{name: "an exempt decoder", files: src("tools/testall/main.go", `import "encoding/json"`, `var f = json.Unmarshal`)},
		{name: "an exemption without need", files: src("tools/testall/main.go", ``), want: []string{"tools/testall: decodes nothing"}},
	},
	"sizes": {
		{name: "long", files: long("hub/loop.go", maxLines+1, ""), want: []string{"hub/loop.go: 601 lines"}},
		{name: "long test", files: long("hub/loop_test.go", maxTest+1, ""), want: []string{"hub/loop_test.go: 801 lines"}},
		{name: "at the bound", files: merge(long("hub/loop.go", maxLines, ""), long("hub/loop_test.go", maxTest, ""))},
		{name: "generated by name", files: long("api/navev1/a.pb.go", maxTest+1, "")},
		{name: "generated by header", files: long("hub/table.go", maxTest+1, "// Code generated by tables. DO NOT EDIT.\n\n")},
	},
	"docs": {
		{name: "no doc.go", files: src("hub/loop.go", ``), want: []string{"hub: no doc.go"}},
		{name: "a comment elsewhere", files: map[string]string{"hub/loop.go": "// Package hub owns.\npackage hub\n"}, want: []string{"hub: no doc.go"}},
		{name: "an empty doc.go", files: src("hub/doc.go", ``), want: []string{"hub: no doc.go"}},
		{name: "another beginning", files: map[string]string{"hub/doc.go": "// The hub owns.\npackage hub\n"}, want: []string{"hub/doc.go: the comment does not begin"}},
		{name: "documented", files: map[string]string{"hub/doc.go": "// Package hub owns.\npackage hub\n", "hub/loop.go": "package hub\n"}},
		{name: "a program without a comment", files: map[string]string{"cmd/nave/main.go": "package main\n"}, want: []string{"cmd/nave: no comment above the package clause"}},
		{name: "a program", files: map[string]string{"cmd/nave/main.go": "// Nave asks a hub.\npackage main\n"}},
		{name: "generated", files: src("api/navev1/navev1connect/a.connect.go", ``)},
		{name: "tests alone", files: src("deps_test.go", ``)},
	},
	"names": {
		{name: "util", files: map[string]string{"hub/util/a.go": "package util\n"}, want: []string{"hub/util: package util is named for nothing"}},
		{name: "test of util", files: map[string]string{"hub/util/a_test.go": "package util_test\n"}, want: []string{"hub/util: package util is named for nothing"}},
		{name: "two words", files: map[string]string{"hub/store/a.go": "package hubStore\n"}, want: []string{"hub/store: package hubStore is not one lower-case word"}},
		{name: "a noun", files: src("hub/store/a.go", ``)},
	},
	"links": {
		{name: "a server", files: src("cmd/nave-spoke/main.go", ``), links: map[string][]string{"cmd/nave-spoke": {"fmt", "go.etcd.io/etcd/server/v3/embed"}}, want: []string{"cmd/nave-spoke: links go.etcd.io/etcd/server/v3/embed"}},
		{name: "clients", files: src("cmd/nave-spoke/main.go", ``), links: map[string][]string{"cmd/nave-spoke": {"go.etcd.io/etcd/client/v3", "github.com/openziti/ziti-sdk"}}},
		{name: "not known", files: src("cmd/nave/main.go", ``), want: []string{"cmd/nave: what it links is not known"}},
		{name: "the hub", files: src("cmd/nave-hub/main.go", ``)},
	},
	"clients": {
		{name: "all groups", files: src("spoke/kube/core.go", `import "k8s.io/client-go/kubernetes"`), want: []string{"spoke/kube/core.go:3: imports k8s.io/client-go/kubernetes"}},
		{name: "a group of them", files: src("spoke/kube/core.go", `import "k8s.io/client-go/kubernetes/typed/core/v1"`), want: []string{"spoke/kube/core.go:3: imports k8s.io/client-go/kubernetes/typed/core/v1"}},
		{name: "a factory of informers", files: src("spoke/kube/core.go", `import "k8s.io/client-go/informers"`), want: []string{"spoke/kube/core.go:3: imports k8s.io/client-go/informers"}},
		{name: "without types", files: src("cmd/nave-spoke/kube.go", `import "k8s.io/client-go/dynamic"`), want: []string{"cmd/nave-spoke/kube.go:3: imports k8s.io/client-go/dynamic"}},
		{name: "in a test", files: src("spoke/kube/core_test.go", `import "k8s.io/client-go/kubernetes/fake"`), want: []string{"spoke/kube/core_test.go:3: imports k8s.io/client-go/kubernetes/fake"}},
		{name: "by something else", files: src("cmd/nave-spoke/main.go", ``), links: map[string][]string{"cmd/nave-spoke": {"k8s.io/client-go/kubernetes/scheme"}}, want: []string{"cmd/nave-spoke: links k8s.io/client-go/kubernetes/scheme"}},
		{name: "its own client", files: src("spoke/kube/core.go", `import ("k8s.io/client-go/rest"; "k8s.io/client-go/tools/cache")`), links: map[string][]string{"cmd/nave-spoke": {"k8s.io/client-go/rest"}}},
		{name: "tests on clusters", files: merge(src("kind-tests/a_test.go", `import "k8s.io/client-go/kubernetes"`), src("internal/testcluster/a.go", `import "k8s.io/client-go/kubernetes"`))},
	},
}

func TestPlanted(t *testing.T) {
	for _, r := range Rules {
		breaks := 0
		for _, p := range planted[r.Name] {
			breaks += len(p.want)
			t.Run(r.Name+"/"+p.name, func(t *testing.T) {
				tree := tree(t, p)
				got := r.Check(tree)
				if len(got) != len(p.want) {
					t.Errorf("%d violations, want %d:\n%v", len(got), len(p.want), got)
				}
				for i, v := range got {
					if i < len(p.want) && !strings.HasPrefix(v.String(), p.want[i]) {
						t.Errorf("violation %q, want %q...", v, p.want[i])
					}
				}
				slices.Reverse(tree.Files)
				if diff := cmp.Diff(got, r.Check(tree)); diff != "" {
					t.Errorf("depends on the order of files (-first +reversed):\n%s", diff)
				}
			})
		}
		if breaks == 0 {
			t.Errorf("rule %s has no planted tree that breaks it", r.Name)
		}
	}
	if len(planted) != len(Rules) {
		t.Errorf("%d rules are planted, and there are %d", len(planted), len(Rules))
	}
}

func TestLargeTellsBeforeSizesFails(t *testing.T) {
	files := long("hub/loop.go", lookLines+1, "")
	tree := tree(t, plant{files: files})
	if got := Large(tree); len(got) != 1 || len(Sizes(tree)) != 0 {
		t.Errorf("Large = %v, Sizes = %v; want one line and none", got, Sizes(tree))
	}
}

func TestLoadRefusesWhatItCannotRead(t *testing.T) {
	if _, err := Load(fstest.MapFS{"hub/a.go": {Data: []byte("packag hub")}}); err == nil || !strings.Contains(err.Error(), "hub/a.go") {
		t.Errorf("Load = %v, want an error with the file's name", err)
	}
}

func TestLoadLeavesOutWhatIsNoCodeOfOurs(t *testing.T) {
	p := plant{files: make(map[string]string)}
	for _, path := range []string{"hub/testdata/a.go", ".cache/a.go", "_old/a.go", "bin/a.go", "console/node_modules/x/a.go", "hub/.a.go", "hub/_a.go"} {
		p.files[path] = "not Go at all"
	}
	p.files["hub/bin/a.go"] = "package bin\n"
	if got := tree(t, p).Files; len(got) != 1 || got[0].Path != "hub/bin/a.go" {
		t.Errorf("loaded %d files, want hub/bin/a.go alone", len(got))
	}
}

func tree(t *testing.T, p plant) Tree {
	t.Helper()
	fsys := make(fstest.MapFS)
	for path, text := range p.files {
		fsys[path] = &fstest.MapFile{Data: []byte(text)}
	}
	tree, err := Load(fsys)
	if err != nil {
		t.Fatal(err)
	}
	tree.Links = p.links
	return tree
}

// src is a tree of one file: package clause in line 1, the parts from line 3 on.
func src(path string, parts ...string) map[string]string {
	return map[string]string{path: "package p\n\n" + strings.Join(parts, "\n") + "\n"}
}

// page is a page of fuzz tests with one row.
func page(target string) map[string]string {
	return map[string]string{"docs/fuzzing.md": "| decoder | target |\n| --- | --- |\n| a | `" + target + "` |\n"}
}

// long is a tree of one file with that many lines.
func long(path string, n int, header string) map[string]string {
	text := header + "package p\n"
	return map[string]string{path: text + strings.Repeat("\n", n-strings.Count(text, "\n"))}
}

func merge(trees ...map[string]string) map[string]string {
	all := make(map[string]string)
	for _, m := range trees {
		for path, text := range m {
			all[path] = text
		}
	}
	return all
}
