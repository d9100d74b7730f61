package keeper

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nave-dev/nave/internal/run"
)

// endLook is how often the end of the children is looked for when the keeper ends, and endLimit how long at most.
const (
	endLook  = 20 * time.Millisecond
	endLimit = 30 * time.Second
)

// server is the keeper inside its own process. One goroutine uses it.
type server struct {
	out  *json.Encoder
	mine map[int]bool // children that were asked for, not yet reaped
}

// Serve is the keeper's program: it reads requests until its input ends, then ends every process that descends from it. args are
// pairs of folders, the second of which is hidden under the first; then the process has been born in a mount namespace of its own.
func Serve(in io.Reader, out io.Writer, args []string) error {
	if err := hide(args); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the parent of orphans: %w", err)
	}
	ended := make(chan os.Signal, 1) // one is enough: every look reaps all
	signal.Notify(ended, syscall.SIGCHLD)
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	// The owner's terminal, and an owner that is gone. Ignored signals would be inherited, caught ones are not.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE, syscall.SIGINT, syscall.SIGHUP)

	requests := make(chan Request) // unbuffered: the reader waits for the loop
	g := run.NewGroup(context.Background())
	g.Go("read requests", func(ctx context.Context) error {
		defer close(requests)
		lines := json.NewDecoder(bufio.NewReader(in))
		for {
			var r Request
			if err := lines.Decode(&r); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			select {
			case requests <- r:
			case <-ctx.Done():
				return nil
			}
		}
	})
	s := &server{out: json.NewEncoder(out), mine: make(map[int]bool)}
	for open := true; open; {
		var r Request
		select {
		case <-ended:
			s.reap()
		case <-told:
			return s.endAll() // the reader ends with the process
		case r, open = <-requests:
			if open {
				s.answer(r)
			}
		}
	}
	return errors.Join(g.Wait(), s.endAll())
}

func hide(pairs []string) error {
	if len(pairs) == 0 {
		return nil
	}
	// Shared among the processes of the namespace: volumes may ask that mounts reach them.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share mounts: %w", err)
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if err := unix.Mount(pairs[i], pairs[i+1], "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("hide %s under %s: %w", pairs[i+1], pairs[i], err)
		}
	}
	return nil
}

func (s *server) answer(r Request) {
	a := Answer{Seq: r.Seq, Pid: r.Pid}
	var err error
	switch {
	case r.Start != nil:
		a.Pid, err = launch(r.Start)
		if err == nil {
			s.mine[a.Pid] = true
		}
	case s.mine[r.Pid]:
		err = syscall.Kill(r.Pid, r.Signal)
	default:
		err = fmt.Errorf("process %d is none of the keeper's", r.Pid)
	}
	if err != nil {
		a.Error = err.Error()
	}
	_ = s.out.Encode(a) // an owner that is gone closes the input too
}

// launch starts one process, in a session of its own.
func launch(p *Spec) (int, error) {
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	if p.Netns != "" {
		leave, err := enter(p.Netns)
		if err != nil {
			return 0, err
		}
		defer leave()
	}
	process, err := os.StartProcess(p.Args[0], p.Args, &os.ProcAttr{
		Dir: p.Dir, Env: p.Env, Files: []*os.File{null, log, log}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", p.Name, err)
	}
	pid := process.Pid
	return pid, process.Release() // reap waits for it
}

// enter puts this thread into a network namespace: a process that it starts is born there.
func enter(path string) (leave func(), err error) {
	runtime.LockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	defer func() {
		if err != nil {
			_ = own.Close() // harmless where it was not opened
			runtime.UnlockOSThread()
		}
	}()
	if err != nil {
		return nil, err
	}
	to, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer to.Close()
	if err := unix.Setns(int(to.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("enter %s: %w", path, err)
	}
	return func() {
		defer own.Close()
		if unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread() // else the thread ends with its goroutine
		}
	}, nil
}

// reap takes the result of every child that has ended, and tells the owner of those that it asked for.
func (s *server) reap() (childless bool) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil || pid == 0:
			return errors.Is(err, syscall.ECHILD)
		case s.mine[pid]:
			delete(s.mine, pid)
			_ = s.out.Encode(Answer{Pid: pid, How: how(status)}) // the owner may be gone
		}
	}
}

func how(s syscall.WaitStatus) string {
	if s.Signaled() {
		return "signal: " + s.Signal().String()
	}
	return fmt.Sprintf("exit status %d", s.ExitStatus())
}

// endAll kills the children until there is none. Whatever a killed child leaves becomes a child itself.
func (s *server) endAll() error {
	limit := time.Now().Add(endLimit)
	for !s.reap() {
		for _, pid := range children() {
			_ = syscall.Kill(pid, syscall.SIGKILL) // not reaped yet, so the id is still its own
		}
		if time.Now().After(limit) {
			return fmt.Errorf("children %v do not end", children())
		}
		time.Sleep(endLook)
	}
	return nil
}

// children lists the direct children, whichever thread started them.
func children() []int {
	files, _ := filepath.Glob("/proc/self/task/*/children")
	var out []int
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // a thread that has ended
		}
		for _, word := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil {
				out = append(out, pid)
			}
		}
	}
	return out
}

// Within calls f on a thread that is in the network namespace: what f opens below /proc/sys/net, and sockets that it makes,
// belong to it. f must not start goroutines.
func Within(netns string, f func() error) error {
	leave, err := enter(netns)
	if err != nil {
		return err
	}
	defer leave()
	return f()
}
