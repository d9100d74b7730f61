package process

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/description"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// launchLocked writes the description and starts the harness.
func (r *Runtime) launchLocked(c claim, w spoke.WorkloadSpec) (pid int, err error) {
	doc, err := protojson.Marshal(r.describe(c, w))
	if err != nil {
		return 0, fmt.Errorf("encode the description: %w", err)
	}
	if err := c.write("workload.json", doc); err != nil {
		return 0, err
	}
	if err := os.Mkdir(c.path("temp"), 0o700); err != nil {
		return 0, fmt.Errorf("make directory: %w", err)
	}
	for _, d := range []string{"home", "workspace", "state"} {
		if err := os.MkdirAll(r.state(w.ID, d), 0o700); err != nil {
			return 0, fmt.Errorf("make directory: %w", err)
		}
	}
	log, err := os.OpenFile(c.path("harness.log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return 0, fmt.Errorf("open the harness's log: %w", err)
	}
	defer log.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	if err := keepFiles(); err != nil {
		return 0, err
	}
	// The mark is how the sweep finds what the harness and the agent started, whatever happened to them.
	proc, err := os.StartProcess(r.c.Harness, []string{r.c.Harness, c.path("workload.json")}, &os.ProcAttr{
		Dir:   c.dir,
		Env:   []string{mark(c.id), "PATH=" + r.c.Path},
		Files: []*os.File{null, null, log},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, fmt.Errorf("start the harness: %w", err)
	}
	pid = proc.Pid
	proc.Release() // it is reaped by its number, as an adopted one cannot be waited for
	h, err := observe(pid)
	if err == nil {
		err = c.setHarness(h)
	}
	if err != nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		awaitChild(pid)
		return 0, err
	}
	return pid, nil
}

// keepFiles makes every open file of this process one that programs do not inherit. What Go opens is so; what this process
// was started with may not be, and a harness that outlives the spoke would hold it open: a lock, a listening socket.
func keepFiles() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("list open files: %w", err)
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
	return nil
}

// state is a directory of the session, the same for all its attempts.
func (r *Runtime) state(id spoke.WorkloadID, name string) string {
	return filepath.Join(r.sessions(), strings.ToLower(string(id.Session)), name)
}

// describe renders what the harness needs to know.
func (r *Runtime) describe(c claim, w spoke.WorkloadSpec) *harnessv1.Workload {
	d := description.Of(w)
	d.Cluster, d.Path, d.Socket = r.c.Cluster(), r.c.Path, r.c.Socket
	d.Home, d.Workspace, d.State = r.state(w.ID, "home"), r.state(w.ID, "workspace"), r.state(w.ID, "state")
	d.Temp, d.ExitFile = c.path("temp"), c.path("exit")
	return d
}
