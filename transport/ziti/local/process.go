package local

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	backoffMin  = 200 * time.Millisecond
	backoffMax  = 10 * time.Second
	backoffGood = 30 * time.Second // of life, after which a death counts as the first

	hungAfter = 10 * time.Second // of silence of a process that served; it looks at itself every two seconds
	lookStep  = time.Second      // at most so much of the time between two looks counts: who looks may have been frozen
)

// childConfig is what nave-overlay reads. The program has the same shape; it cannot import this one.
type childConfig struct {
	Name           string     `json:"name"`
	Home           string     `json:"home"`
	Lease          string     `json:"lease"`
	GraceMS        int64      `json:"graceMs"`
	Address        netip.Addr `json:"address"`
	Advertise      string     `json:"advertise,omitempty"`
	Port           int        `json:"port"`
	LinkPort       int        `json:"linkPort,omitempty"`
	ControllerPort int        `json:"controllerPort,omitempty"`
	ControllerHome string     `json:"controllerHome,omitempty"`
	LogBytes       int64      `json:"logBytes"`
}

// process is one of the three, as its supervisor sees it. Used by one goroutine.
type process struct {
	role   string // subcommand of the program
	binary string
	cfg    childConfig

	child    int       // id of the one that we started and have not reaped, or 0
	seen     running   // who held run.lock at the last look that found it held
	alive    bool      // as of the last look
	ready    bool      // as of the last look
	since    time.Time // when it was first seen alive, or started
	failures int       // deaths in a row
	next     time.Time // no start before

	looked  time.Time     // the last look
	word    string        // the content of the file alive then
	silence time.Duration // for so long it has not changed, while the process was ready
}

func (p *process) path(name string) string { return filepath.Join(p.cfg.Home, name) }

// look renews what is known: alive, ready. died is true when it was alive at the last look.
func (p *process) look(now time.Time) (died bool, err error) {
	was := p.alive
	if p.child != 0 {
		var ws syscall.WaitStatus
		// A result other than 0 is our child, ended, or the news that it is not ours to wait for.
		if pid, err := syscall.Wait4(p.child, &ws, syscall.WNOHANG, nil); pid != 0 || errors.Is(err, syscall.ECHILD) {
			p.child = 0
		}
	}
	locked, err := held(p.path("run.lock"))
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", p.cfg.Name, err)
	}
	if locked {
		p.seen = runningAs(p.holder())
	}
	// A process that ends lets go of its lock before the last of its listeners: until then its ports are taken.
	p.alive = locked || p.child != 0 || p.seen.still()
	p.ready = locked && p.holder() != 0 && p.holder() == readPID(p.path("ready"))
	p.listen(now)
	switch {
	case p.alive && !was:
		p.since = now
	case was && !p.alive:
		if now.Sub(p.since) > backoffGood {
			p.failures = 0
		}
		p.next = now.Add(min(backoffMin<<min(p.failures, 10), backoffMax))
		p.failures++
		return true, nil
	}
	return false, nil
}

// listen counts the time for which a process that is ready has given no sign of life. One of a version that gives none has no
// such file, and none is expected of it.
func (p *process) listen(now time.Time) {
	passed := min(now.Sub(p.looked), lookStep)
	p.looked = now
	b, err := os.ReadFile(p.path("alive"))
	if word := string(b); err != nil || !p.ready || word != p.word {
		p.word, p.silence = word, 0
		return
	}
	p.silence += passed
}

// hung reports that the process serves no more though it is there.
func (p *process) hung() bool { return p.silence > hungAfter }

// holder returns the id of the process that holds the lock, or 0. Only meaningful while the lock is held.
func (p *process) holder() int { return readPID(p.path("run.lock")) }

func readPID(path string) int {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(b)))
	if err != nil || n < 2 {
		return 0
	}
	return n
}

// start starts the process in a session of its own, so that neither the hub's end nor its terminal ends it. The process
// must not be alive.
func (p *process) start(now time.Time) error {
	for _, port := range []int{p.cfg.Port, p.cfg.LinkPort} {
		if port != 0 {
			if err := checkPort(p.cfg.Name, netip.AddrPortFrom(p.cfg.Address, uint16(port))); err != nil {
				return err
			}
		}
	}
	if err := os.MkdirAll(p.cfg.Home, 0o700); err != nil {
		return err
	}
	if err := os.Remove(p.path("ready")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	b, err := json.MarshalIndent(p.cfg, "", "  ")
	if err != nil {
		return err
	}
	if err := writeFile(p.path("config.json"), b); err != nil {
		return err
	}
	out, err := os.OpenFile(p.path("out"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(p.binary, p.role, "--config", p.path("config.json"))
	cmd.Stdout, cmd.Stderr, cmd.Dir, cmd.Env = out, out, p.cfg.Home, childEnv()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.cfg.Name, err)
	}
	p.child, p.alive, p.ready, p.since = cmd.Process.Pid, true, false, now
	return cmd.Process.Release() // reaped by look
}

// signal sends sig to the process if it lives.
func (p *process) signal(sig syscall.Signal) {
	pid := p.child
	if pid == 0 {
		if locked, err := held(p.path("run.lock")); err != nil || !locked {
			return
		}
		pid = p.holder()
	}
	if pid != 0 {
		_ = syscall.Kill(pid, sig) // gone already: that is what was wanted
	}
}

// complaint returns the last words of the process, for an error.
func (p *process) complaint() string {
	for _, name := range []string{"out", "log"} {
		b, err := os.ReadFile(p.path(name))
		if b = bytes.TrimSpace(b); err == nil && len(b) > 0 {
			return string(b[max(0, len(b)-600):])
		}
	}
	return "it left no word"
}

// childEnv is our environment without proxies: nothing of the overlay is to be reached through one.
func childEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if !strings.HasSuffix(strings.ToLower(name), "_proxy") {
			env = append(env, kv)
		}
	}
	return env
}
