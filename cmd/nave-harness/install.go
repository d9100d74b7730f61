package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// install copies this program to a path, where it is there as a whole or not at all. It may be executed by everybody.
func (p *program) install(args []string) error {
	args, err := parse(newFlags("install"), args)
	if err != nil {
		return err
	}
	if len(args) != 1 || !filepath.IsAbs(args[0]) {
		return usage("install: want one absolute path")
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("open this program: %w", err)
	}
	defer self.Close()
	out, err := os.CreateTemp(filepath.Dir(args[0]), ".nave-harness-")
	if err != nil {
		return fmt.Errorf("install: %w", err)
	}
	_, err = io.Copy(out, self)
	if err == nil {
		err = out.Chmod(0o755)
	}
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err == nil {
		err = os.Rename(out.Name(), args[0])
	}
	if err != nil {
		os.Remove(out.Name())
		return fmt.Errorf("install: %w", err)
	}
	return nil
}
