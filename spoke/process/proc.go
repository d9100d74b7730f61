package process

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/nave-dev/nave/spoke"
)

// process is a process that is told apart from a later one with the same number.
type process struct {
	boot  string // of the machine
	pid   int
	start uint64 // ticks since boot
}

// bootID changes with every boot of the machine.
var bootID = sync.OnceValues(func() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
})

// observe reads the start time of a process that runs.
func observe(pid int) (process, error) {
	boot, err := bootID()
	if err != nil {
		return process{}, fmt.Errorf("read the boot id: %w", err)
	}
	s, err := readStat(pid)
	if err != nil {
		return process{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	return process{boot, pid, s.start}, nil
}

// alive reports whether it is this process that runs under the number. A zombie does not run.
func (p process) alive() bool {
	s, same := p.stat()
	return same && !s.dead()
}

// stat reports what is known of the process; same is false when it is gone.
func (p process) stat() (s stat, same bool) {
	boot, err := bootID()
	if err != nil || boot != p.boot || p.pid <= 0 {
		return stat{}, false
	}
	s, err = readStat(p.pid)
	return s, err == nil && s.start == p.start
}

// stat is what is read of /proc/PID/stat (proc(5)).
type stat struct {
	state   byte
	ppid    int
	pgrp    int
	session int
	threads int // of a process that ended: 1, itself
	start   uint64
}

// dead reports that nothing of the process acts any more. A zombie with threads has ended its main thread only: the others
// run on, or have not let go of its files.
func (s stat) dead() bool {
	return (s.state == 'Z' || s.state == 'X' || s.state == 'x') && s.threads <= 1
}

func readStat(pid int) (stat, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, err
	}
	// The second field is the program's name in brackets and may hold anything.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 {
		return stat{}, fmt.Errorf("%d fields in /proc/%d/stat", len(f), pid)
	}
	var s stat
	var errs [5]error
	s.state = f[0][0]
	s.ppid, errs[0] = strconv.Atoi(f[1])
	s.pgrp, errs[1] = strconv.Atoi(f[2])
	s.session, errs[2] = strconv.Atoi(f[3])
	s.threads, errs[3] = strconv.Atoi(f[17])
	s.start, errs[4] = strconv.ParseUint(f[19], 10, 64)
	return s, errors.Join(errs[:]...)
}

// mark is what every process of a workload has in its environment.
func mark(id spoke.WorkloadID) string { return "NAVE_WORKLOAD=" + id.String() }

// marked reports whether the process has the mark in the environment that it began with.
func marked(pid int, mark string) bool {
	env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return false // gone, or another user's
	}
	return bytes.Contains(append([]byte{0}, env...), []byte("\x00"+mark+"\x00"))
}

// table is all processes that are not dead.
func table() (map[int]stat, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	all := make(map[int]stat, len(entries))
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		s, err := readStat(pid)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // ended meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("list processes: %w", err)
		}
		if !s.dead() {
			all[pid] = s
		}
	}
	return all, nil
}

// awaitChild waits for a child that was killed.
func awaitChild(pid int) {
	for {
		if _, err := syscall.Wait4(pid, nil, 0, nil); !errors.Is(err, syscall.EINTR) {
			return
		}
	}
}
