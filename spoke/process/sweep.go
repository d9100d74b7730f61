package process

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/nave-dev/nave/api"
)

// sweepLimit bounds a sweep; a process that does not die within it (it hangs in the kernel) makes the answer "unknown".
const sweepLimit = 5 * time.Second

// aliveLocked reports whether the harness runs. One that ended and is a child of this process is reaped here.
func (r *Runtime) aliveLocked(c claim) (bool, error) {
	h, err := c.harness()
	if err != nil || h.pid == 0 {
		return false, err
	}
	s, same := h.stat()
	if !same || !s.dead() {
		return same, nil
	}
	var ws syscall.WaitStatus
	if pid, err := syscall.Wait4(h.pid, &ws, syscall.WNOHANG, nil); err == nil && pid == h.pid {
		return false, c.setExit(exitText(ws, c.lastLog()), api.StartFailureCrash)
	}
	return false, nil // somebody else's child
}

func exitText(ws syscall.WaitStatus, log string) string {
	switch {
	case ws.Signaled():
		return "the harness was killed: " + ws.Signal().String()
	case log != "":
		return fmt.Sprintf("the harness ended with %d: %s", ws.ExitStatus(), log)
	}
	return fmt.Sprintf("the harness ended with %d", ws.ExitStatus())
}

// endedLocked makes sure that nothing of a workload runs whose harness has ended.
func (r *Runtime) endedLocked(c claim) error {
	h, err := c.harness()
	if err != nil {
		return err
	}
	return c.sweep(h.pid)
}

// killLocked kills the harness and everything that it started.
func (r *Runtime) killLocked(c claim, why string) error {
	h, err := c.harness()
	if err != nil {
		return err
	}
	if err := c.sweep(h.pid); err != nil {
		return err
	}
	r.c.Log.Warn("workload killed", "workload", c.id, "reason", why)
	return c.setExit(why, "") // somebody asked for it
}

// terminate asks the harness to end.
func (c claim) terminate() error {
	h, err := c.harness()
	if err != nil || !h.alive() {
		return err
	}
	if err := syscall.Kill(h.pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("terminate workload %s: %w", c.id, err)
	}
	return nil
}

// sweep kills everything of the workload until nothing is left. The number of its harness is 0 when it is not known.
func (c claim) sweep(harness int) error {
	deadline := time.Now().Add(sweepLimit)
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		pids, err := c.members(harness)
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return api.Errorf(api.CodeUnavailable, "processes %v of workload %s do not end", pids, c.id)
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("kill process %d of workload %s: %w", pid, c.id, err)
			}
		}
		time.Sleep(wait)
	}
}

// members lists the processes of the workload: those with its mark, those in the harness's session or process group, and
// the descendants of all these.
func (c claim) members(harness int) ([]int, error) {
	all, err := table()
	if err != nil {
		return nil, err
	}
	h, err := c.harness()
	if err != nil {
		return nil, err
	}
	// While a session or group has members its number is not used again: a process under it that is not the harness means
	// that the number went to somebody else, and with it the session.
	if s, running := all[harness]; running && (h.pid != harness || s.start != h.start || !h.alive()) {
		harness = 0
	}
	mark, ours := mark(c.id), make(map[int]bool)
	for pid, s := range all {
		ours[pid] = harness != 0 && (pid == harness || s.session == harness || s.pgrp == harness) || marked(pid, mark)
	}
	for grown := true; grown; {
		grown = false
		for pid, s := range all {
			if !ours[pid] && ours[s.ppid] {
				ours[pid], grown = true, true
			}
		}
	}
	var pids []int
	for pid, is := range ours {
		if is {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
