package local

import (
	"bytes"
	"os"
	"strconv"
)

// running is one process that was seen: its id and when it started, so that an id that was given again is not taken for it.
// The zero value was not seen.
type running struct {
	pid   int
	start string // field 22 of /proc/PID/stat
}

// runningAs looks at a process. Where there is no /proc nothing is seen.
func runningAs(pid int) running {
	if pid == 0 {
		return running{}
	}
	if ended, start := stat(pid); start != "" && !ended {
		return running{pid, start}
	}
	return running{}
}

// still reports that the process exists and has not ended. A zombie without threads has closed its files; one with threads
// has ended its main thread only.
func (r running) still() bool { return r.pid != 0 && runningAs(r.pid) == r }

// stat reads whether a process has ended and when it started, see proc_pid_stat(5).
func stat(pid int) (ended bool, start string) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false, ""
	}
	// The name in parentheses may hold anything.
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 20 {
		return false, ""
	}
	state, threads := string(f[0]), string(f[17])
	return (state == "Z" || state == "X") && (threads == "0" || threads == "1"), string(f[19])
}
