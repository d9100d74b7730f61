package drive

import (
	"fmt"
	"os"
	"strings"

	"github.com/nave-dev/nave/internal/bench/measure"
)

// Marks in the page: what stands between them is written by this program.
const (
	beginMark = "<!-- figures of %s: written by `make %s` -->\n"
	endMark   = "<!-- end of figures -->\n"
)

// writePage puts figures between the marks of their scenarios, each with what it was measured on.
func writePage(path, target string, m measure.Machine, results []result) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	page := string(b)
	for _, r := range results {
		facts := strings.Split(strings.TrimSpace(machine(m)), "\n")
		if l := lateness(r); l != "" {
			facts = append(facts, l)
		}
		text := markdown(r) + "\n" + strings.Join(facts, "; ") + ".\n\nAgain: `make " + target + " RUN=" + r.scenario.Name + "`\n"
		if page, err = between(page, target, r.scenario.Name, text); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return os.WriteFile(path, []byte(page), 0o644)
}

func between(page, target, name, text string) (string, error) {
	mark := fmt.Sprintf(beginMark, name, target)
	before, rest, found := strings.Cut(page, mark)
	_, after, closed := strings.Cut(rest, endMark)
	if !found || !closed {
		return "", fmt.Errorf("it has no place for the figures of %s: add the lines %q and %q", name, strings.TrimSpace(mark), strings.TrimSpace(endMark))
	}
	return before + mark + text + endMark + after, nil
}
