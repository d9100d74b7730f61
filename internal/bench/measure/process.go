package measure

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
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

// ProcessorTime is what a process has used, in both modes: its own to the nanosecond, that of its children that have ended in
// steps of 10 ms.
func ProcessorTime(pid int) (time.Duration, error) {
	var own unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &own); err != nil { // the processor's clock of a process, as clock_getcpuclockid(3) has it
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:])) // the name in parentheses may hold anything
	var sum int64
	for _, i := range []int{13, 14} { // cutime, cstime
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return time.Duration(own.Nano()) + time.Duration(sum)*time.Second/ticks, nil
}

// Counts are what a program's runtime counts since it began, and what it has now.
type Counts struct {
	Objects float64 // that were allocated
	Bytes   float64 // of them
	Live    float64 // bytes of objects that were not collected, and of stacks
}

// CountsOf asks a program that serves profiles at an address. With collect it collects its garbage before.
func CountsOf(ctx context.Context, address string, collect bool) (c Counts, err error) {
	url := "http://" + address + "/debug/pprof/heap?debug=1"
	if collect {
		url += "&gc=1"
	}
	text, err := Show(ctx, url)
	if err != nil {
		return c, err
	}
	found := 0
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "# "), " = ")
		var to *float64
		switch name {
		case "Mallocs":
			to = &c.Objects
		case "TotalAlloc":
			to = &c.Bytes
		case "HeapAlloc", "Stack":
			to = &c.Live
		default:
			continue
		}
		value, _, _ = strings.Cut(value, " ") // of stacks it says "in use / from the system"
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return c, err
		}
		*to += n
		found++
	}
	if found != 4 {
		return c, fmt.Errorf("%s says of memory: %.200q", address, text)
	}
	return c, nil
}
