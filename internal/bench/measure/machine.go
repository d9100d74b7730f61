package measure

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Machine is what a run was made on.
type Machine struct {
	Processor string  `json:"processor"`
	Cores     int     `json:"cores"`
	Memory    string  `json:"memory"`
	Kernel    string  `json:"kernel"`
	Go        string  `json:"go"`
	Sync      string  `json:"sync"` // of 2 KiB to the disk that data is kept on: p50 and p99
	Load      string  `json:"load"` // of the last minute, when the run began
	Revision  string  `json:"revision"`
	Date      string  `json:"date"`
	Seed      uint64  `json:"seed"`
	SyncMs    float64 `json:"sync_ms"` // the p50
}

// LookAtMachine reads the machine's facts and measures what a sync costs in dir. The revision is of the code that is measured.
func LookAtMachine(dir, revision string, seed uint64) (Machine, error) {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version(), Date: time.Now().UTC().Format(time.DateOnly), Seed: seed,
		Processor: field("/proc/cpuinfo", "model name"), Memory: field("/proc/meminfo", "MemTotal"), Revision: revision}
	var u syscall.Utsname
	if err := syscall.Uname(&u); err == nil {
		for _, c := range u.Release {
			if c == 0 {
				break
			}
			m.Kernel += string(rune(c))
		}
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load, _, _ = strings.Cut(string(b), " ")
	}
	s, err := Syncs(dir, 500)
	if err != nil {
		return m, err
	}
	m.SyncMs = Ms(s.At(0.5))
	m.Sync = fmt.Sprintf("%s ms, %s ms", Number(Ms(s.At(0.5))), Number(Ms(s.At(0.99))))
	return m, nil
}

// Syncs appends 2 KiB and syncs, n times one after another: the floor of everything that is durable.
func Syncs(dir string, n int) (Samples, error) {
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block, took := make([]byte, 2048), make(Samples, 0, n)
	for range n {
		began := time.Now()
		if _, err := f.Write(block); err != nil {
			return nil, err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}

// field is the value of the first line "name: value" of a file.
func field(path, name string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}
