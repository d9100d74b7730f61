package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// history asks git about a checkout.
type history struct {
	top     string
	git     string
	summary string
}

// openHistory returns nil and why when there is none.
func openHistory(top string) (*history, string) {
	if _, err := os.Stat(filepath.Join(top, ".git")); err != nil {
		return nil, "there is no .git, as in an archive"
	}
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, "there is no git program"
	}
	h := &history{top: top, git: git}
	n, last, err := h.log()
	if err != nil {
		return nil, err.Error()
	}
	h.summary = fmt.Sprintf("%s, last %s", count(n, "commit"), last)
	return h, ""
}

// touching counts the commits that touch the Go files of a package and gives the author date of the last one.
func (h *history) touching(rel string) (int, string, error) {
	return h.log("--", ":(glob)"+filepath.ToSlash(filepath.Join(rel, "*.go")))
}

func (h *history) log(args ...string) (int, string, error) {
	cmd := exec.Command(h.git, append([]string{"-C", h.top, "log", "--format=%as"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		line, _, _ := strings.Cut(strings.TrimSpace(problems.String()), "\n")
		return 0, "", fmt.Errorf("git log: %v: %s", err, line)
	}
	dates := strings.Fields(string(out))
	if len(dates) == 0 {
		return 0, "never", nil
	}
	return len(dates), dates[0], nil
}
