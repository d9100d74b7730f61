package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// claim is the directory of one workload.
type claim struct {
	id  spoke.WorkloadID
	dir string
}

func (c claim) path(name string) string { return filepath.Join(c.dir, name) }

func (c claim) exists() (bool, error) {
	_, err := os.Stat(c.dir)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// write replaces a file at once.
func (c claim) write(name string, data []byte) error {
	tmp := c.path("." + name)
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("write %s of workload %s: %w", name, c.id, err)
	}
	return os.Rename(tmp, c.path(name))
}

// read returns the text of a file, empty when there is none.
func (c claim) read(name string) (string, error) {
	b, err := os.ReadFile(c.path(name))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read %s of workload %s: %w", name, c.id, err)
	}
	return string(b), nil
}

func (c claim) description() (*harnessv1.Workload, error) {
	text, err := c.read("workload.json")
	if err != nil {
		return nil, err
	}
	w := new(harnessv1.Workload)
	if text == "" {
		return w, nil // the start was cut off
	}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal([]byte(text), w); err != nil {
		return nil, fmt.Errorf("decode the description of workload %s: %w", c.id, err)
	}
	return w, nil
}

// harness is the process of the claim; its pid is 0 when none was noted.
func (c claim) harness() (process, error) {
	text, err := c.read("pid")
	if err != nil || text == "" {
		return process{}, err
	}
	var p process
	if _, err := fmt.Sscan(text, &p.boot, &p.pid, &p.start); err != nil {
		return process{}, fmt.Errorf("read the process of workload %s: %w", c.id, err)
	}
	if p.pid <= 1 { // a signal to it would reach others: a group, everybody, or init
		return process{}, fmt.Errorf("read the process of workload %s: %d is no process of ours", c.id, p.pid)
	}
	return p, nil
}

func (c claim) setHarness(p process) error {
	return c.write("pid", fmt.Appendf(nil, "%s %d %d\n", p.boot, p.pid, p.start))
}

// deadline is when the workload must have ended; zero when it was not stopped.
func (c claim) deadline() (time.Time, error) {
	text, err := c.read("stop")
	if err != nil || text == "" {
		return time.Time{}, err
	}
	by, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return by, fmt.Errorf("read the deadline of workload %s: %w", c.id, err)
	}
	return by, nil
}

// setDeadline keeps the earlier one of two.
func (c claim) setDeadline(by time.Time) error {
	old, err := c.deadline()
	if err != nil {
		return err
	}
	if !old.IsZero() && old.Before(by) {
		return nil
	}
	return c.write("stop", []byte(by.UTC().Format(time.RFC3339Nano)))
}

// exit is why the workload ended. That it ended without a word before its first turn and nobody asked it to is a crash.
func (c claim) exit() (*harnessv1.Exit, error) {
	text, err := c.read("exit")
	if err != nil {
		return nil, err
	}
	e := &harnessv1.Exit{Reason: "killed", Failure: string(api.StartFailureCrash)}
	if text != "" {
		e = new(harnessv1.Exit)
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal([]byte(text), e); err != nil {
			return nil, fmt.Errorf("read why workload %s ended: %w", c.id, err)
		}
	}
	for _, name := range []string{"stop", "exit.turn"} { // asked to, or a turn had begun
		if _, err := os.Stat(c.path(name)); err == nil {
			e.Failure = ""
		} else if !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("look at workload %s: %w", c.id, err)
		}
	}
	return e, nil
}

// setExit notes why the workload ended, unless the harness said so itself.
func (c claim) setExit(reason string, failure api.StartFailure) error {
	old, err := c.read("exit")
	if err != nil || old != "" {
		return err
	}
	text, err := protojson.Marshal(&harnessv1.Exit{Reason: reason, Failure: string(failure)})
	if err != nil {
		return fmt.Errorf("encode why workload %s ended: %w", c.id, err)
	}
	return c.write("exit", text)
}

// remove deletes the claim at once: a part of it would look like a workload.
func (c claim) remove() error {
	gone := filepath.Join(filepath.Dir(c.dir), "."+filepath.Base(c.dir))
	if err := os.RemoveAll(gone); err != nil {
		return fmt.Errorf("remove workload %s: %w", c.id, err)
	}
	if err := os.Rename(c.dir, gone); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove workload %s: %w", c.id, err)
	}
	return os.RemoveAll(gone)
}

// lastLog is the last line of the harness's log.
func (c claim) lastLog() string {
	text, err := c.read("harness.log")
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
