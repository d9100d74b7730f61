package measure

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Memory is what a process has of the machine's memory.
type Memory struct {
	Resident  int64 // bytes, with what is mapped from files
	Anonymous int64 // bytes that belong to nobody else
}

// MemoryOf looks at a process by /proc/PID/smaps_rollup.
func MemoryOf(pid int) (Memory, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return Memory{}, err
	}
	defer f.Close()
	var m Memory
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil {
			continue // the first line, which names the range
		}
		switch name {
		case "Rss":
			m.Resident = kib << 10
		case "Anonymous":
			m.Anonymous = kib << 10
		}
	}
	if m.Resident == 0 {
		return m, fmt.Errorf("process %d has no memory: it has ended", pid)
	}
	return m, nil
}

// ticks is how many a second has in /proc, on every Linux that Go runs on.
const ticks = 100

// ProcessorTime is what a process has used, in both modes, with its children that have ended, in steps of 10 ms.
func ProcessorTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:])) // the name in parentheses may hold anything
	var sum int64
	for _, i := range []int{11, 12, 13, 14} { // utime, stime, cutime, cstime
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return time.Duration(sum) * time.Second / ticks, nil
}
