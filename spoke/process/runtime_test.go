package process_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/door"
	"github.com/nave-dev/nave/spoke/harness"
	"github.com/nave-dev/nave/spoke/process"
	"github.com/nave-dev/nave/spoke/runtimetest"
)

// The test's own binary is the harness when it is started with a description.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && filepath.Base(os.Args[1]) == "workload.json" {
		os.Exit(harness.Main(os.Args[1], "test", os.Stderr))
	}
	os.Exit(m.Run())
}

func TestConformance(t *testing.T) {
	runtimetest.Run(t, func(t *testing.T) runtimetest.Config {
		rt, c := newRuntime(t)
		d, err := door.New(door.Config{Socket: c.Socket, Verify: rt.Verify, Vault: runtimetest.NoCheckpoints{}, Log: c.Log})
		if err != nil {
			t.Fatal(err)
		}
		return runtimetest.Config{
			Runtime: rt, Door: d, Run: rt.Run,
			Again: func() spoke.Runtime {
				second, err := process.New(c)
				if err != nil {
					t.Fatal(err)
				}
				return second
			},
			KillHarness: func(id spoke.WorkloadID) error {
				pid, err := harnessOf(c.Dir, id)
				if err != nil {
					return err
				}
				return syscall.Kill(pid, syscall.SIGKILL)
			},
			Running: running,
		}
	})
}

// newRuntime makes a runtime over a short directory: the path of a socket is bounded.
func newRuntime(t *testing.T) (*process.Runtime, process.Config) {
	t.Helper()
	dir, err := os.MkdirTemp("", "nave")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := process.Config{
		Dir: filepath.Join(dir, "process"), Harness: self, Socket: filepath.Join(dir, "run", "door.sock"),
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	rt, err := process.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return rt, c
}

func harnessOf(dir string, id spoke.WorkloadID) (pid int, err error) {
	b, err := os.ReadFile(filepath.Join(dir, "workloads", id.String(), "pid"))
	if err != nil {
		return 0, err
	}
	var boot string
	_, err = fmt.Sscan(string(b), &boot, &pid)
	return pid, err
}

// running counts processes by what /proc says of them, apart from the runtime's own way. Shells that are still to start
// something hold the token too; they are not counted.
func running(token string) (int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	n := 0
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		argv := strings.Split(string(bytes.TrimRight(b, "\x00")), "\x00")
		if strings.Contains(argv[len(argv)-1], token) && filepath.Base(argv[0]) == "sleep" {
			n++
		}
	}
	return n, nil
}
