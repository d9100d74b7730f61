package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nave-dev/nave/internal/run"
)

// program is one run of a program in a process group of its own.
type program struct {
	argv    []string
	env     []string
	dir     string
	stdin   *os.File
	patient time.Duration   // between SIGTERM and SIGKILL when it is to end
	kill    <-chan struct{} // closed when it is to end at once
	cgroup  cgroup          // that this process and the program are in
	stdout  func(context.Context, *os.File) error
	stderr  func(context.Context, *os.File) error
}

// notStarted is why a program did not begin.
type notStarted struct{ err error }

func (e *notStarted) Error() string { return e.err.Error() }
func (e *notStarted) Unwrap() error { return e.err }

// run starts the program and returns when it and everything that it started have ended and all output was read. The
// readers' context ends when the program has: what is left to read then is at most what the pipes hold. The error says
// how the program ended, or is a [notStarted] when it could not be started. When ctx ends, the program is ended; the caller sees by ctx.
func (p program) run(ctx context.Context) error {
	// The kernel kills the child when the thread that started it ends: the thread must live as long as the harness.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	path, err := find(p.argv[0], p.env, p.dir)
	if err != nil {
		return &notStarted{err}
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	defer outR.Close()
	defer outW.Close()
	errR, errW, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	defer errR.Close()
	defer errW.Close()

	how := p.cgroup.watch()
	proc, err := os.StartProcess(path, p.argv, &os.ProcAttr{
		Dir:   p.dir,
		Env:   p.env,
		Files: []*os.File{p.stdin, outW, errW},
		Sys:   &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return &notStarted{fmt.Errorf("start %s: %w", p.argv[0], err)}
	}
	outW.Close()
	errW.Close()

	alive, ended := context.WithCancel(context.WithoutCancel(ctx))
	defer ended()
	g := run.NewGroup(alive)
	g.Go("read standard output", func(ctx context.Context) error { return p.stdout(ctx, outR) })
	g.Go("read standard error", func(ctx context.Context) error { return p.stderr(ctx, errR) })
	g.Go("end program", func(gctx context.Context) error { return p.end(ctx, gctx, proc.Pid) })

	awaitExit(proc.Pid)
	// The leader is a zombie now and keeps the group's number from being used again.
	_ = syscall.Kill(-proc.Pid, syscall.SIGKILL)
	state, werr := proc.Wait()
	kerr := killChildren()
	ended()
	if err := errors.Join(werr, kerr, g.Wait()); err != nil {
		return err
	}
	if !state.Success() {
		return how(state)
	}
	return nil
}

// end waits until ctx ends and then ends the process group; it returns when the program has ended.
func (p program) end(ctx, alive context.Context, pid int) error {
	select {
	case <-alive.Done():
		return nil
	case <-p.kill:
	case <-ctx.Done():
		_ = syscall.Kill(-pid, syscall.SIGTERM)
		t := time.NewTimer(p.patient)
		defer t.Stop()
		select {
		case <-alive.Done():
			return nil
		case <-p.kill:
		case <-t.C:
		}
	}
	_ = syscall.Kill(-pid, syscall.SIGKILL)
	return nil
}

// awaitExit waits until a child has ended, and leaves it to be reaped. Orphans that end meanwhile are reaped: a turn may be long
// and leave many.
func awaitExit(pid int) {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT, nil)
		switch ended := pidOf(&info); {
		case errors.Is(err, unix.EINTR):
		case err != nil || ended == pid || ended <= 0:
			return
		default:
			_, _ = syscall.Wait4(ended, nil, syscall.WNOHANG, nil)
		}
	}
}

// pidOf is whom waitid names: the first field of the union, which begins where a pointer may: waitid(2).
func pidOf(info *unix.Siginfo) int {
	const word = unsafe.Sizeof(uintptr(0))
	const at = (unsafe.Offsetof(info.Code) + unsafe.Sizeof(info.Code) + word - 1) / word * word
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(info), at)))
}

// killChildren kills and reaps every child of this process until there is none. Orphans of the agent become children of
// the harness, because it is their subreaper.
func killChildren() error {
	deadline := time.Now().Add(10 * time.Second)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if errors.Is(err, syscall.EINTR) {
				continue
			}
			if errors.Is(err, syscall.ECHILD) {
				return nil
			}
			if err != nil || pid <= 0 {
				break
			}
		}
		if time.Now().After(deadline) {
			return errors.New("children of the agent do not end")
		}
		for _, pid := range children() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(wait)
	}
}

// children lists the children of this process.
func children() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	self := os.Getpid()
	var pids []int
	for _, e := range entries {
		var pid, ppid int
		if _, err := fmt.Sscan(e.Name(), &pid); err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue
		}
		// The program's name is in brackets and may hold anything.
		var state string
		rest := string(stat[strings.LastIndexByte(string(stat), ')')+1:])
		if n, _ := fmt.Sscan(rest, &state, &ppid); n == 2 && ppid == self {
			pids = append(pids, pid)
		}
	}
	return pids
}

// find looks a program up as a shell would: by the PATH of env, or below dir when the name has a slash.
func find(name string, env []string, dir string) (string, error) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return name, nil
	}
	list := ""
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			list = v
		}
	}
	for _, d := range filepath.SplitList(list) {
		if !filepath.IsAbs(d) {
			continue
		}
		at := filepath.Join(d, name)
		if fi, err := os.Stat(at); err == nil && !fi.IsDir() && fi.Mode()&0o111 != 0 {
			return at, nil
		}
	}
	return "", fmt.Errorf("program %q is not in the PATH %q", name, list)
}
