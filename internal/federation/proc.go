package federation

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Proc is a process as /proc shows it. The start tells it from a later one with the same id.
type Proc struct {
	ID     int
	Parent int
	Start  uint64 // ticks since the machine booted
	Args   []string
}

// Naming returns the living processes, but for this one, whose command line or environment names a folder. Where there is
// no /proc it returns nothing.
func Naming(dir string) []Proc {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []Proc
	for _, e := range entries {
		id, err := strconv.Atoi(e.Name())
		if err != nil || id == os.Getpid() {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil {
			continue
		}
		env, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ")) // another user's: not ours
		if !bytes.Contains(line, []byte(dir)) && !bytes.Contains(env, []byte(dir)) {
			continue
		}
		if p, alive := Find(id); alive {
			out = append(out, p)
		}
	}
	return out
}

// Find returns a process by its id; false when it does not live.
func Find(id int) (Proc, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", id))
	if err != nil {
		return Proc{}, false
	}
	// The second field is the program's name in brackets and may hold anything.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 || strings.ContainsAny(f[0], "ZXx") {
		return Proc{}, false
	}
	p := Proc{ID: id}
	if p.Parent, err = strconv.Atoi(f[1]); err != nil {
		return Proc{}, false
	}
	if p.Start, err = strconv.ParseUint(f[19], 10, 64); err != nil {
		return Proc{}, false
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", id))
	if err != nil {
		return Proc{}, false
	}
	p.Args = strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")
	return p, true
}

// Alive reports whether it is the same process still.
func (p Proc) Alive() bool {
	now, alive := Find(p.ID)
	return alive && now.Start == p.Start
}

// Kill ends it if it is the same process still.
func (p Proc) Kill() {
	if p.Alive() {
		_ = syscall.Kill(p.ID, syscall.SIGKILL)
	}
}

// Gone waits until it does not live any more.
func (p Proc) Gone(ctx context.Context) error {
	return Await(ctx, fmt.Sprintf("end of process %d (%s)", p.ID, strings.Join(p.Args, " ")), func() (bool, error) { return !p.Alive(), nil })
}

// Env reads the environment that it was started with.
func (p Proc) Env() (map[string]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.ID))
	if err != nil {
		return nil, err
	}
	env := map[string]string{}
	for kv := range strings.SplitSeq(string(b), "\x00") {
		if name, value, ok := strings.Cut(kv, "="); ok {
			env[name] = value
		}
	}
	return env, nil
}
