package realpart

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Miss is one test that did not run because a part was missing.
type Miss struct {
	Package string // folder of the package, from the repository's
	Test    string // full name, with subtests
	Part    Part
	Get     string // the command that gets the part
}

// record appends one line. Test binaries of several packages append to one file at the same time: a line is a single
// write to a file opened for appending, which the kernel does not split.
func record(file string, m Miss) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s\t%s\t%s\t%s\n", m.Package, m.Test, m.Part, m.Get)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

// ReadMisses returns the lines of the file, sorted and without doubles. A file that is not there holds none.
func ReadMisses(file string) ([]Miss, error) {
	text, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	lines := slices.Collect(strings.Lines(string(text)))
	slices.Sort(lines)
	var misses []Miss
	for _, line := range slices.Compact(lines) {
		field := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(field) != 4 {
			return nil, fmt.Errorf("%s: %q is not a line of package, test, part, command", file, line)
		}
		misses = append(misses, Miss{field[0], field[1], Part(field[2]), field[3]})
	}
	return misses, nil
}
