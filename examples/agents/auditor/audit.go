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
	var total facts
	packages, modules, outside := 0, map[string]string{}, map[string]bool{}
	past, why := openHistory(t.Path)
	err := filepath.WalkDir(t.Path, func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if dir != t.Path && skipped(d.Name()) {
			return filepath.SkipDir
		}
		if m, ok, err := moduleAt(dir); err != nil {
			return err
		} else if ok {
			modules[dir] = m
		}
		names, err := sources(dir)
		if err != nil || len(names) == 0 {
			return err
		}
		rel, err := filepath.Rel(t.Path, dir)
		if err != nil {
			return err
		}
		p := facts{}
		for _, name := range names {
			f, err := inspect(filepath.Join(dir, name), moduleOf(modules, t.Path, dir))
			if err != nil {
				return err
			}
			if t.Detail == "files" {
				if _, err := fmt.Fprintf(out, "file %s: %s\n", filepath.Join(rel, name), f.fileLine()); err != nil {
					return err
				}
			}
			p.add(f)
		}
		packages++
		total.add(p)
		for m := range p.outside {
			outside[m] = true
		}
		line := fmt.Sprintf("package %s: %s", rel, p.packageLine())
		if past != nil {
			n, last, err := past.touching(rel)
			if err != nil {
				past, why = nil, err.Error()
			} else {
				line += fmt.Sprintf("; %s, last %s", count(n, "commit"), last)
			}
		}
		_, err = fmt.Fprintln(out, line)
		return err
	})
	if err != nil {
		return err
	}
	history := "no history: " + why
	if past != nil {
		history = past.summary
	}
	name := modules[t.Path]
	if name == "" {
		name = "no module at the top"
	}
	_, err = fmt.Fprintf(out, "summary %s (%s): %s, %s; %s\n", filepath.Base(t.Path), name, count(packages, "package"), total.packageLine(), history)
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
