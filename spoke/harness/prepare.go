package harness

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// initLimit bounds all init scripts together.
const initLimit = 15 * time.Minute

// prepare puts the files in place, runs the init scripts, in order, and waits for what the agent needs beside it.
func (h *Harness) prepare(ctx context.Context, kill <-chan struct{}) error {
	for _, d := range []string{h.w.Home, h.w.Workspace, h.w.Temp} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	if err := writeFiles(h.w.Home, h.w.Files); err != nil {
		return err
	}
	if err := writeSkills(h.w.Home, h.w.Skills); err != nil {
		return err
	}
	scripts, cancel := context.WithTimeoutCause(ctx, initLimit, fmt.Errorf("all together took longer than %v", initLimit))
	defer cancel()
	for _, s := range h.w.InitScripts {
		if tail, err := h.script(scripts, kill, s.Script); err != nil {
			if cause := context.Cause(scripts); cause != nil {
				err = cause
			}
			return fmt.Errorf("init script %q: %w%s", s.Name, err, below(lastOf(tail, startTail)))
		}
	}
	if err := h.runnable(); err != nil {
		return err
	}
	if err := h.awaitServers(ctx, serverLimit); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	return nil
}

// runnable reports an agent's program that is not there: no turn could succeed.
func (h *Harness) runnable() error {
	w := h.w
	path, err := find(w.Command[0], h.env(false), w.Workspace)
	if err != nil {
		return err
	}
	switch fi, err := os.Stat(path); {
	case err != nil:
		return fmt.Errorf("program %q: %w", w.Command[0], err)
	case fi.IsDir() || fi.Mode()&0o111 == 0:
		return fmt.Errorf("program %q is no file that can be executed", path)
	}
	return nil
}

// writeFiles writes below home. A link that an earlier attempt left there leads nowhere else: the root refuses it.
func writeFiles(home string, files []*harnessv1.File) error {
	if len(files) == 0 {
		return nil
	}
	root, err := os.OpenRoot(home)
	if err != nil {
		return fmt.Errorf("open home: %w", err)
	}
	defer root.Close()
	for _, f := range files {
		mode := os.FileMode(f.Mode)
		if mode == 0 {
			mode = 0o644
		}
		if err := root.MkdirAll(path.Dir(f.Path), 0o755); err != nil {
			return fmt.Errorf("file %q: %w", f.Path, err)
		}
		if err := root.WriteFile(f.Path, []byte(f.Content), mode); err != nil {
			return fmt.Errorf("file %q: %w", f.Path, err)
		}
		if err := root.Chmod(f.Path, mode); err != nil { // an older file keeps its mode, and the mask takes bits away
			return fmt.Errorf("file %q: %w", f.Path, err)
		}
	}
	return nil
}

// script runs a shell script, or any script that names its interpreter in the first line.
func (h *Harness) script(ctx context.Context, kill <-chan struct{}, text string) (string, error) {
	f, err := os.CreateTemp(h.w.Temp, "init-")
	if err != nil {
		return "", fmt.Errorf("write the script: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return "", fmt.Errorf("write the script: %w", err)
	}
	argv := []string{"/bin/sh", f.Name()}
	if line, _, _ := strings.Cut(text, "\n"); strings.HasPrefix(line, "#!") {
		argv = append(strings.Fields(line[2:]), f.Name())
	}
	if len(argv) < 2 || !filepath.IsAbs(argv[0]) {
		return "", fmt.Errorf("the first line names no interpreter by an absolute path")
	}
	return h.execute(ctx, kill, argv, nil)
}

// below renders the last lines of a program's standard error under a reason.
func below(tail string) string {
	if tail == "" {
		return ""
	}
	return ":\n" + tail
}
