package main

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// audit prints what it finds in a checkout, package by package, in the order of their directories.
func audit(t task, out io.Writer) error {
	a := &auditor{task: t, out: out, modules: map[string]string{}}
	a.past, a.why = openHistory(t.Path)
	if err := filepath.WalkDir(t.Path, a.visit); err != nil {
		return err
	}
	return a.summary()
}

// auditor is one audit.
type auditor struct {
	task
	out      io.Writer
	modules  map[string]string // directory -> path of the module whose go.mod is there
	past     *history          // nil without one
	why      string            // there is no history
	packages int
	total    facts
}

// visit audits the package in a directory, if there is one.
func (a *auditor) visit(dir string, d fs.DirEntry, err error) error {
	if err != nil || !d.IsDir() {
		return err
	}
	if dir != a.Path && skipped(d.Name()) {
		return filepath.SkipDir
	}
	module, ok, err := moduleAt(dir)
	if err != nil {
		return err
	}
	if ok {
		a.modules[dir] = module
	}
	names, err := sources(dir)
	if err != nil || len(names) == 0 {
		return err
	}
	rel, err := filepath.Rel(a.Path, dir)
	if err != nil {
		return err
	}
	var p facts
	for _, name := range names {
		f, err := inspect(filepath.Join(dir, name), moduleOf(a.modules, a.Path, dir))
		if err != nil {
			return err
		}
		p.add(f)
		if a.Detail != "files" {
			continue
		}
		if _, err := fmt.Fprintf(a.out, "file %s: %s\n", filepath.Join(rel, name), f.fileLine()); err != nil {
			return err
		}
	}
	a.packages++
	a.total.add(p)
	_, err = fmt.Fprintf(a.out, "package %s: %s%s\n", rel, p.packageLine(), a.touching(rel))
	return err
}

// touching tells what history says of a package. When git fails once, it is not asked again.
func (a *auditor) touching(rel string) string {
	if a.past == nil {
		return ""
	}
	n, last, err := a.past.touching(rel)
	if err != nil {
		a.past, a.why = nil, err.Error()
		return ""
	}
	return fmt.Sprintf("; %s, last %s", count(n, "commit"), last)
}

func (a *auditor) summary() error {
	name, history := a.modules[a.Path], "no history: "+a.why
	if name == "" {
		name = "no module at the top"
	}
	if a.past != nil {
		history = a.past.summary
	}
	_, err := fmt.Fprintf(a.out, "summary %s (%s): %s, %s; %s\n", filepath.Base(a.Path), name, count(a.packages, "package"), a.total.packageLine(), history)
	return err
}

// skipped directories hold nothing that the project wrote, as for the go command.
func skipped(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "vendor" || name == "testdata" || name == "node_modules"
}

// sources lists the Go files of a directory, sorted.
func sources(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && strings.HasSuffix(e.Name(), ".go") && !strings.HasPrefix(e.Name(), ".") && !strings.HasPrefix(e.Name(), "_") {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// moduleAt reads the module's path from a go.mod in the directory.
func moduleAt(dir string) (string, bool, error) {
	f, err := os.Open(filepath.Join(dir, "go.mod"))
	if os.IsNotExist(err) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if path, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "module "); ok {
			path, _, _ = strings.Cut(path, "//")
			return strings.Trim(strings.TrimSpace(path), `"`), true, nil
		}
	}
	return "", false, lines.Err()
}

// moduleOf is the module of the nearest go.mod from a directory upwards, within the checkout.
func moduleOf(modules map[string]string, top, dir string) string {
	for {
		if m, ok := modules[dir]; ok {
			return m
		}
		if dir == top || dir == filepath.Dir(dir) {
			return ""
		}
		dir = filepath.Dir(dir)
	}
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
