package harness

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// cgroupFiles is where a container sees its own control groups.
const cgroupFiles = "/sys/fs/cgroup"

// cgroup is the folder of the control group of a container, which nobody else's processes are in; empty: there is none. Where the
// kernel ends for want of memory one process of a container and not all, which is always so in version 1 of control groups, the
// group alone says why: the process ended by SIGKILL as any other.
type cgroup string

// kills is how many processes of the group the kernel has ended for want of memory; false when nobody can tell.
func (g cgroup) kills() (uint64, bool) {
	for _, file := range []string{"memory.events", "memory/memory.oom_control"} { // of version 2 and 1
		if text, ok := g.read(file); ok {
			return killsIn(text)
		}
	}
	return 0, false
}

// had says what memory the group may have, for people.
func (g cgroup) had() string {
	for _, file := range []string{"memory.max", "memory/memory.limit_in_bytes"} {
		if text, ok := g.read(file); ok {
			return limitIn(text)
		}
	}
	return "a limit that cannot be read"
}

func (g cgroup) read(file string) (string, bool) {
	if g == "" {
		return "", false
	}
	text, err := os.ReadFile(filepath.Join(string(g), file))
	return string(text), err == nil
}

// killsIn finds the number in what the kernel writes: lines of a name and a value, in either version.
func killsIn(text string) (uint64, bool) {
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) == 2 && words[0] == "oom_kill" {
			n, err := strconv.ParseUint(words[1], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// limitIn renders a limit of bytes as Kubernetes does. Version 1 says a number that no machine has where there is none.
func limitIn(text string) string {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	if err != nil || n >= 1<<62 {
		return "no limit of its own"
	}
	units := []string{"", "Ki", "Mi", "Gi", "Ti"}
	i := 0
	for ; n >= 1<<10 && n%(1<<10) == 0 && i < len(units)-1; i++ {
		n >>= 10
	}
	// The kernel rounds a limit down to whole pages: what is no round number is shown by tenths of the next unit.
	if n >= 10<<10 && i < len(units)-1 {
		return strconv.FormatFloat(float64(n)/(1<<10), 'f', 1, 64) + units[i+1]
	}
	return strconv.FormatUint(n, 10) + units[i]
}

// watch begins to look at a program; what it returns says how the program ended that failed. A program of which the kernel ended a
// process while it ran, and that then ended itself, has a reason of its own as well.
//
//	ended by SIGKILL, or with its exit code   the kernel ended one   the program ended
//	yes                                       yes                    for want of memory
//	no                                        yes                    as it did, and for want of memory perhaps
//	any                                       no, or unknown         as it did
func (g cgroup) watch() func(*os.ProcessState) error {
	before, known := g.kills()
	return func(state *os.ProcessState) error {
		after, still := g.kills()
		if !known || !still || after <= before {
			return errors.New(state.String())
		}
		memory := "out of memory: the container had " + g.had()
		if killed(state) {
			return errors.New(memory)
		}
		return fmt.Errorf("%v (%s)", state, memory)
	}
}

// killed reports an end by SIGKILL, also of a program whose shell told its end on.
func killed(state *os.ProcessState) bool {
	status, ok := state.Sys().(syscall.WaitStatus)
	return ok && (status.Signaled() && status.Signal() == syscall.SIGKILL || status.Exited() && status.ExitStatus() == 128+int(syscall.SIGKILL))
}
