package testcluster

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Processes lists the processes of the cluster's pods that match, as this machine numbers them. environ and cmdline are what /proc says; empty
// where it does not. They end and come while they are looked at: who needs one waits until it is there.
func (c *Cluster) Processes(match func(environ, cmdline []string) bool) []int {
	entries, _ := os.ReadDir("/proc")
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err == nil && c.inPod(pid) && match(procWords(pid, "environ"), procWords(pid, "cmdline")) {
			out = append(out, pid)
		}
	}
	return out
}

// Signal sends a signal to a process of one of the cluster's pods. After SIGSTOP and SIGCONT it returns when the process has stopped
// or goes on.
func (c *Cluster) Signal(pid int, signal syscall.Signal) error {
	p, err := os.FindProcess(pid) // the handle stands for one process, so the id cannot be another's by the time of the signal
	if err != nil {
		return err
	}
	defer p.Release() //nolint:errcheck // holds nothing more
	if !c.inPod(pid) {
		return fmt.Errorf("process %d is none of the pods of %s", pid, c.Name)
	}
	if err := p.Signal(signal); err != nil {
		return fmt.Errorf("signal process %d: %w", pid, err)
	}
	if signal != syscall.SIGSTOP && signal != syscall.SIGCONT {
		return nil
	}
	for limit := time.Now().Add(askLimit); ; time.Sleep(sweepLook) {
		if stopped := procState(pid) == 'T'; stopped == (signal == syscall.SIGSTOP) {
			return nil
		}
		if time.Now().After(limit) {
			return fmt.Errorf("process %d is in state %c after %v", pid, procState(pid), signal)
		}
	}
}

// Freeze stops a process of a pod as it is: it holds what it has and does nothing. Thaw lets it go on.
func (c *Cluster) Freeze(pid int) error { return c.Signal(pid, syscall.SIGSTOP) }

// Thaw undoes Freeze.
func (c *Cluster) Thaw(pid int) error { return c.Signal(pid, syscall.SIGCONT) }

// inPod reports whether a living process is in a control group of the cluster's pods.
func (c *Cluster) inPod(pid int) bool {
	if !alive(pid) {
		return false
	}
	groups, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup")) // none: it has ended
	for line := range strings.Lines(string(groups)) {
		if c.backend.ofPods(strings.TrimSpace(line)) {
			return true
		}
	}
	return false
}

// alive reports whether there is such a process. A zombie holds nothing but its number.
func alive(pid int) bool {
	s := procState(pid)
	return s != 0 && strings.IndexByte("ZXx", s) < 0
}

// procState is the letter of a process's state; 0: there is none.
func procState(pid int) byte {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0
	}
	return stateOf(stat)
}

// stateOf finds the state in the content of a stat file: after the name, which may hold anything.
func stateOf(stat []byte) byte {
	after := bytes.TrimLeft(stat[bytes.LastIndexByte(stat, ')')+1:], " ")
	if len(after) == 0 {
		return 0
	}
	return after[0]
}

// procWords reads a file of words that end with zeros.
func procWords(pid int, file string) []string {
	text, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), file))
	words := strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
	if len(words) == 1 && words[0] == "" {
		return nil
	}
	return words
}
