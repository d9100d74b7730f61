package realpart

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Part names one real program.
type Part string

// The parts that tests of Nave may need.
const (
	NaveHub     Part = "nave-hub"
	NaveSpoke   Part = "nave-spoke"
	NaveHarness Part = "nave-harness"
	NaveOverlay Part = "nave-overlay" // an OpenZiti controller and routers
	NaveCLI     Part = "nave"         // the command line
	Auditor     Part = "auditor"      // an agent of the quickstart
	Scribe      Part = "scribe"       // another one, of the Agent Client Protocol
	OpenCode    Part = "opencode"     // an agent that nobody here wrote
	PostgreSQL  Part = "postgresql"   // the server program; initdb and the rest lie beside it
	Terraform   Part = "terraform"
	Chromium    Part = "chromium"
	Git         Part = "git"
	Helm        Part = "helm" // the version that tools/helm pins
)

// row is how one part is looked for and got.
type row struct {
	part Part
	env  string   // variable that names the program; where it is set, nothing else is looked at
	at   []string // patterns of paths, tried in order; relative ones start at the repository; of several matches the last is taken
	bins []string // names looked for on PATH, after at
	get  string   // the command that gets it
}

var table = []row{
	ours(NaveHub, ""),
	ours(NaveSpoke, ""),
	ours(NaveHarness, ""),
	ours(NaveOverlay, "NAVE_OVERLAY_BIN"),
	ours(NaveCLI, ""),
	ours(Auditor, ""),
	ours(Scribe, ""),
	{OpenCode, "NAVE_OPENCODE_BIN", []string{"bin/opencode"}, nil, "make agents"},
	{PostgreSQL, "NAVE_POSTGRES_BIN", []string{"/usr/lib/postgresql/*/bin/postgres"}, nil, "make deps"},
	{Terraform, "TF_ACC_TERRAFORM_PATH", nil, []string{"terraform"}, "install terraform 1.5 or newer, see https://developer.hashicorp.com/terraform/install"},
	{Chromium, "NAVE_CHROMIUM_BIN", nil, []string{"chromium", "chromium-browser", "google-chrome"}, "apt-get install chromium"},
	{Git, "", nil, []string{"git"}, "make deps"},
	{Helm, "NAVE_HELM_BIN", []string{"bin/helm"}, nil, "make bin/helm"},
}

// BinEnv names the folder of Nave's own programs. Without it they are looked for in bin/ of the repository.
const BinEnv = "NAVE_BIN"

// ours is the row of a program of Nave.
func ours(p Part, env string) row {
	return row{p, env, []string{filepath.Join("bin", string(p))}, nil, "make build"}
}

// Found is one part as it is on this machine.
type Found struct {
	Part Part
	Path string // absolute path of the program; empty when Err is set
	Err  error  // why it was not found
	Get  string // the command that gets it
}

// All looks for every part, in the order of the table. root is the repository's folder.
func All(root string) []Found {
	all := make([]Found, 0, len(table))
	for _, r := range table {
		all = append(all, r.find(root))
	}
	return all
}

// find looks for one part. A part that is not in the table is a mistake of the test's author.
func find(root string, p Part) Found {
	i := slices.IndexFunc(table, func(r row) bool { return r.part == p })
	if i < 0 {
		panic(fmt.Sprintf("realpart: %q is not in the table of internal/realpart/part.go", p))
	}
	return table[i].find(root)
}

func (r row) find(root string) Found {
	path, err := r.look(root)
	if err != nil {
		return Found{Part: r.part, Err: err, Get: r.get}
	}
	return Found{Part: r.part, Path: path, Get: r.get}
}

func (r row) look(root string) (string, error) {
	if r.env != "" {
		if path := os.Getenv(r.env); path != "" {
			if err := executable(path); err != nil {
				return "", fmt.Errorf("%s: %w", r.env, err)
			}
			return filepath.Abs(path)
		}
	}
	var looked []string
	for _, pattern := range r.at {
		if name, own := strings.CutPrefix(pattern, "bin/"); own && os.Getenv(BinEnv) != "" {
			pattern = filepath.Join(os.Getenv(BinEnv), name)
		} else if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(root, pattern)
		}
		looked = append(looked, pattern)
		matches, err := filepath.Glob(pattern)
		if err != nil {
			return "", fmt.Errorf("look for %s: %w", pattern, err)
		}
		for _, path := range slices.Backward(matches) {
			if executable(path) == nil {
				return path, nil
			}
		}
	}
	for _, name := range r.bins {
		looked = append(looked, name+" on PATH")
		if path, err := exec.LookPath(name); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", errors.New("not found: " + strings.Join(looked, ", "))
}

func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case info.IsDir() || info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("%s is not a program", path)
	}
	return nil
}

const rootModule = "module github.com/nave-dev/nave\n"

// Root returns the repository's folder: the nearest folder at or above dir that holds the go.mod of Nave's main module.
func Root(dir string) (string, error) {
	for at := dir; ; at = filepath.Dir(at) {
		text, err := os.ReadFile(filepath.Join(at, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), rootModule) {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("no go.mod of Nave at or above %s", dir)
		}
	}
}
