package testcluster

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/nave-dev/nave/internal/realpart"
	"github.com/nave-dev/nave/internal/run"
)

// stillEvery is how often a build says that it goes on.
const stillEvery = 30 * time.Second

// Bin is the built programs of a cluster.
type Bin struct {
	Dir string // holds a link to each program; those of pods' networks are in cni
}

func (b Bin) path(name string) string { return filepath.Join(b.Dir, name) }

// Images are the archives of the images that every node gets.
func (b Bin) images() []string { return []string{b.path("pause.tar"), b.path("probe.tar")} }

// part is built and kept as a whole.
type part struct {
	name    string
	sources []string // folders and files, from the repository's, that decide what is built
	build   func(ctx context.Context, b builder) error
}

// builder is where a part is built.
type builder struct {
	root string // of the repository
	out  string // folder that gets the programs
}

const programsDir = "internal/testcluster/programs"

var parts = []part{
	{"kubeall", []string{programsDir + "/kubeall"}, buildKubeall},
	{"cri", []string{programsDir + "/cri"}, buildCRI},
	{"coredns", []string{programsDir + "/coredns"}, func(ctx context.Context, b builder) error {
		return b.goBuild(ctx, programsDir+"/coredns", nil, "-ldflags", "-s -w", "-o", b.out+"/", ".")
	}},
	{"kwok", []string{programsDir + "/kwok", "internal/testcluster/build_kwok.go"}, buildKwok},
	{"bed", []string{"go.mod", "internal/run", "internal/testcluster/keeper", "internal/testcluster/cmd", "internal/testcluster/image.go"}, buildBed},
}

// Programs builds what a cluster consists of, or finds it in the cache: NAVE_TESTCLUSTER_CACHE, else nave/testcluster in the
// user's cache directory. From nothing it takes some ten minutes on two processors and says how far it is; with everything in
// the cache, a moment. A second caller waits for the first. The repository's sources are found from the working directory.
func Programs(ctx context.Context, log *slog.Logger) (Bin, error) {
	wd, err := os.Getwd()
	if err != nil {
		return Bin{}, err
	}
	root, err := realpart.Root(wd)
	if err != nil {
		return Bin{}, err
	}
	cache, err := cacheDir()
	if err != nil {
		return Bin{}, err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return Bin{}, err
	}
	version, err := exec.CommandContext(ctx, "go", "env", "GOVERSION").Output()
	if err != nil {
		return Bin{}, fmt.Errorf("ask for the version of Go: %w", err)
	}
	chosen, err := chooseBackend(ctx)
	if err != nil {
		return Bin{}, err
	}
	var dirs []string
	for _, p := range parts {
		if chosen == BackendKind && p.name != "bed" {
			continue // its nodes have the rest
		}
		dir, err := p.get(ctx, root, cache, string(version), log)
		if err != nil {
			return Bin{}, fmt.Errorf("build %s: %w", p.name, err)
		}
		dirs = append(dirs, dir)
	}
	return link(ctx, cache, dirs)
}

func cacheDir() (string, error) {
	if dir := os.Getenv("NAVE_TESTCLUSTER_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "nave", "testcluster"), err
}

// get returns the folder of the built part.
func (p part) get(ctx context.Context, root, cache, version string, log *slog.Logger) (string, error) {
	sum, err := p.sum(root, version)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, p.name+"-"+sum)
	if exists(dir) {
		return dir, nil
	}
	held, err := lock(ctx, filepath.Join(cache, p.name+".lock"))
	if err != nil {
		return "", err
	}
	defer held.Close()
	if exists(dir) {
		return dir, nil // another built it meanwhile
	}
	if err := check(ctx, toBuild); err != nil {
		return "", err
	}
	half, err := os.MkdirTemp(cache, p.name+"-half-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(half)
	start := time.Now()
	log.Info("building programs of the test clusters", "part", p.name)
	err = telling(ctx, func() { log.Info("still building", "part", p.name, "seconds", int(time.Since(start).Seconds())) }, func(ctx context.Context) error {
		return p.build(ctx, builder{root, half})
	})
	if err != nil {
		return "", err
	}
	log.Info("built", "part", p.name, "seconds", int(time.Since(start).Seconds()))
	if err := os.Chmod(half, 0o755); err != nil {
		return "", err
	}
	return dir, os.Rename(half, dir)
}

// telling calls tell now and then until f has ended.
func telling(ctx context.Context, tell func(), f func(context.Context) error) error {
	g := run.NewGroup(ctx)
	done := make(chan struct{})
	g.Go("build", func(ctx context.Context) error {
		defer close(done)
		return f(ctx)
	})
	tick := time.NewTicker(stillEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			tell()
		case <-done:
			return cmp.Or(g.Wait(), context.Cause(ctx))
		}
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// sum is the hash of everything that decides what is built, but for the machine's own libraries.
func (p part) sum(root, version string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, strings.TrimSpace(version), runtime.GOARCH)
	for _, source := range append(slices.Clone(p.sources), "internal/testcluster/build.go") {
		err := filepath.WalkDir(filepath.Join(root, source), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name, err := filepath.Rel(root, path)
			fmt.Fprintf(h, "%s %d\n%s", name, len(text), text)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8]), nil
}

// link makes the folder of links to all programs. It is good wherever the cache is moved to.
func link(ctx context.Context, cache string, dirs []string) (Bin, error) {
	h := sha256.New()
	for _, dir := range dirs {
		fmt.Fprintln(h, filepath.Base(dir))
	}
	sum := h.Sum(nil)
	all := filepath.Join(cache, fmt.Sprintf("set-%x", sum[:8]))
	if exists(all) {
		return Bin{all}, nil // the cache may be another user's
	}
	held, err := lock(ctx, filepath.Join(cache, "set.lock"))
	if err != nil {
		return Bin{}, err
	}
	defer held.Close()
	if exists(all) {
		return Bin{all}, nil
	}
	half, err := os.MkdirTemp(cache, "set-half-")
	if err != nil {
		return Bin{}, err
	}
	defer os.RemoveAll(half)
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return Bin{}, err
		}
		for _, e := range entries {
			if err := os.Symlink(filepath.Join("..", filepath.Base(dir), e.Name()), filepath.Join(half, e.Name())); err != nil {
				return Bin{}, err
			}
		}
	}
	return Bin{all}, errors.Join(os.Chmod(half, 0o755), os.Rename(half, all))
}

// versionOf finds the version of a module in the text of a go.mod.
func versionOf(root, mod, module string) (string, error) {
	text, err := os.ReadFile(filepath.Join(root, mod, "go.mod"))
	if err != nil {
		return "", err
	}
	m := regexp.MustCompile(`(?m)^\s*` + regexp.QuoteMeta(module) + ` (v\S+)`).FindSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("%s/go.mod does not require %s", mod, module)
	}
	return string(m[1]), nil
}
