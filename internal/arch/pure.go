package arch

import (
	"fmt"
	"path"
	"slices"
)

// core is a part of Nave that takes data and the time as arguments and returns data.
type core struct {
	folder  string
	pattern string // of the names of its files; "*" for the whole package
}

var cores = []core{
	{"api", "*"},
	{"placement", "*"},
	{"authz", "*"},
	{"hub", "step*.go"},
	{"spoke", "plan*.go"},
}

// outside are the packages through which a core could act, wait or read what it was not given. A trailing "/..." covers
// the folders below too.
var outside = []string{
	"net", "net/http/...", "net/rpc/...", "net/smtp", "net/textproto",
	"os/...", "syscall/...", "plugin",
	"log/...", "testing/...",
	"math/rand", "crypto/rand",
	"sync/...",
}

// clock are the names of package time that read or wait for the clock.
var clock = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}

// seeded are the names of math/rand/v2 that do not draw from the process's own source.
var seeded = []string{"Rand", "New", "Source", "PCG", "NewPCG", "ChaCha8", "NewChaCha8", "Zipf", "NewZipf"}

func (c core) has(f *File) bool {
	ok, err := path.Match(c.pattern, path.Base(f.Path))
	return err == nil && ok && f.Dir == c.folder && !f.Test
}

// Pure: cores do not act, wait, log, lock, or choose by themselves; nor does any package of ours that placement reaches.
func Pure(t Tree) []Violation {
	var vs []Violation
	reached := reach(t, "placement")
	for _, f := range t.Files {
		i := slices.IndexFunc(cores, func(c core) bool { return c.has(f) })
		switch {
		case i >= 0:
			vs = append(vs, impure(f, cores[i].folder+" is a core")...)
			vs = append(vs, narrow(f, cores[i])...)
		case !f.Test && reached[f.Dir]:
			vs = append(vs, impure(f, "placement reaches this package")...)
		}
	}
	return sorted(vs)
}

func impure(f *File, why string) []Violation {
	var vs []Violation
	bad := func(line int, what string) {
		vs = append(vs, Violation{f.Path, line, fmt.Sprintf("%s; %s: it gets data, the time and a seed as arguments", what, why)})
	}
	for _, i := range f.Imports {
		if allowed(outside, i.Path) {
			bad(i.Line, "imports "+i.Path)
		}
		if i.Name == "." {
			bad(i.Line, "imports "+i.Path+" without a name")
		}
	}
	f.uses("time", func(name string, line int) {
		if slices.Contains(clock, name) {
			bad(line, "uses time."+name)
		}
	})
	f.uses("math/rand/v2", func(name string, line int) {
		if !slices.Contains(seeded, name) {
			bad(line, "uses rand."+name+", which has no seed")
		}
	})
	return vs
}

// narrow refuses what the pure files of a package that also has a shell could borrow from the shell's imports.
func narrow(f *File, c core) []Violation {
	if c.pattern == "*" {
		return nil // the table of rooms says what the whole package may import
	}
	var vs []Violation
	for _, i := range f.Imports {
		dir, ours := i.Ours()
		if !standard(i.Path) && !(ours && (dir == "api" || dir == "placement")) {
			vs = append(vs, Violation{f.Path, i.Line, fmt.Sprintf("imports %s; %s of %s import the standard library, api and placement", i.Path, c.pattern, c.folder)})
		}
	}
	return vs
}

// reach returns the folders of ours that the package in dir imports, directly or not, tests left out.
func reach(t Tree, dir string) map[string]bool {
	reached := map[string]bool{dir: true}
	for grown := true; grown; {
		grown = false
		for _, f := range t.Files {
			if f.Test || !reached[f.Dir] {
				continue
			}
			for _, i := range f.Imports {
				if d, ours := i.Ours(); ours && !reached[d] {
					reached[d], grown = true, true
				}
			}
		}
	}
	return reached
}
