package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	lookStarting = 20 * time.Millisecond
	lookServing  = 500 * time.Millisecond
	stopBound    = 8 * time.Second // for an orderly end, before SIGKILL
	startTries   = 3               // deaths of one process before the first start is given up
)

// Overlay is the network of one directory. Run and Stop must not run at the same time.
type Overlay struct {
	cfg   Config
	ready chan struct{} // closed when all three served for the first time; endpoint is set before
	ended chan struct{} // closed when Run has ended; err is set before
	err   error

	lacking  atomic.Pointer[string] // what did not serve at the last look; nil: nothing, or there was no look yet
	endpoint Endpoint
	procs    []*process // of the last Run, so that Stop reaps what it started; used by Run, then by Stop
}

// Endpoint is how to reach and to administer the overlay.
type Endpoint struct {
	Controller string // base URL of the controller, https://ADDRESS:PORT
	User       string // administrator
	Password   string // of the administrator: secret
	CA         []byte // PEM: the authority that signed the controller, the routers and every identity
}

// LogValue keeps the password out of logs.
func (e Endpoint) LogValue() slog.Value { return slog.StringValue(e.Controller) }

// New returns the overlay of cfg.Dir. It starts nothing.
func New(cfg Config) (*Overlay, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	return &Overlay{cfg: cfg, ready: make(chan struct{}), ended: make(chan struct{})}, nil
}

// Wait returns when the overlay serves, Run has failed, or ctx has ended.
func (o *Overlay) Wait(ctx context.Context) (Endpoint, error) {
	select {
	case <-o.ready:
		return o.endpoint, nil
	case <-o.ended:
		return Endpoint{}, fmt.Errorf("overlay ended before it served: %w", o.err)
	case <-ctx.Done():
		return Endpoint{}, fmt.Errorf("wait for overlay: %w", context.Cause(ctx))
	}
}

// Serving says which of the processes did not serve when they were looked at last. It does not block.
func (o *Overlay) Serving() error {
	if which := o.lacking.Load(); which != nil {
		return fmt.Errorf("%s does not serve", *which)
	}
	return nil
}

// note keeps which processes do not serve.
func (o *Overlay) note(procs []*process) {
	var lacking []string
	for _, p := range procs {
		if !p.ready {
			lacking = append(lacking, p.cfg.Name)
		}
	}
	if len(lacking) == 0 {
		o.lacking.Store(nil)
		return
	}
	names := strings.Join(lacking, ", ")
	o.lacking.Store(&names)
}

// Run adopts or starts the three processes and restarts what dies until ctx ends; then it lets go of the lease, returns
// nil, and the processes live on for the grace. It returns an error when the start fails. It may be called once.
func (o *Overlay) Run(ctx context.Context) error {
	o.err = o.run(ctx)
	if o.err == nil {
		o.err = errors.New("asked to end")
		close(o.ended)
		return nil
	}
	close(o.ended)
	return o.err
}

func (o *Overlay) run(ctx context.Context) error {
	if err := os.MkdirAll(o.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("make overlay directory: %w", err)
	}
	lease, err := takeLease(ctx, o.cfg.Dir)
	if err != nil {
		return err
	}
	defer lease.Close()
	s, err := loadSettings(o.cfg)
	if err != nil {
		return err
	}
	o.procs = o.processes(s)
	every := lookStarting
	for {
		serving, err := o.step(o.procs, every == lookServing)
		o.note(o.procs)
		if err == nil && serving && every == lookStarting {
			o.endpoint, err = o.readEndpoint(s)
		}
		if err != nil {
			return errors.Join(err, o.endStarted())
		}
		if serving && every == lookStarting {
			o.cfg.Progress("overlay ready: " + o.endpoint.Controller)
			close(o.ready)
			every = lookServing
		}
		if !pause(ctx, every) {
			return nil
		}
	}
}

// step looks at each process and starts what is missing. An error is final; after the first start only a look that is
// impossible is one.
func (o *Overlay) step(procs []*process, served bool) (serving bool, err error) {
	serving = true
	for _, p := range procs {
		now := time.Now()
		was, wasReady := p.alive, p.ready
		died, err := p.look(now)
		if err != nil {
			return false, err
		}
		log := o.cfg.Log.With("process", p.cfg.Name)
		switch {
		case died && !served && p.failures >= startTries:
			return false, fmt.Errorf("the overlay's %s ended %d times instead of serving; see %s: %s",
				p.cfg.Name, p.failures, p.cfg.Home, p.complaint())
		case died:
			log.Warn("overlay process died", "deaths", p.failures, "retry_in", time.Until(p.next))
		case p.alive && !was:
			log.Info("overlay process adopted", "pid", p.holder())
			o.cfg.Progress("overlay: " + p.cfg.Name + " runs already")
		case p.ready && !wasReady:
			log.Info("overlay process serves", "pid", p.holder(), "took", now.Sub(p.since))
			o.cfg.Progress("overlay: " + p.cfg.Name + " serves")
		case p.alive && !p.ready && now.Sub(p.since) > o.cfg.StartTimeout:
			log.Warn("overlay process does not come to serve, ending it", "pid", p.holder(), "after", now.Sub(p.since))
			p.signal(syscall.SIGKILL)
		case p.hung():
			log.Warn("overlay process hangs, ending it", "pid", p.holder(), "silent_for", p.silence)
			p.signal(syscall.SIGKILL)
			p.silence = 0
		}
		if !p.alive && !now.Before(p.next) {
			err := p.start(now)
			if err != nil && !served {
				return false, err
			}
			if err != nil {
				log.Warn("overlay process not started", "error", err)
				p.next = now.Add(backoffMax)
			} else {
				log.Info("overlay process started", "pid", p.child)
				o.cfg.Progress("overlay: starting " + p.cfg.Name)
			}
		}
		serving = serving && p.ready
	}
	return serving, nil
}

// endStarted ends what this Run has started, after a start that failed. What it adopted served before and goes on.
func (o *Overlay) endStarted() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*stopBound)
	defer cancel()
	var ours []*process
	for _, p := range o.procs {
		if p.child != 0 {
			ours = append(ours, p)
		}
	}
	return o.end(ctx, ours)
}

// Stop ends the processes in order, the routers and then the controller, and returns when they are gone. Run must have
// ended. A process that takes longer than 8 s is killed. Nothing there: nothing done.
func (o *Overlay) Stop(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(o.cfg.Dir, settingsFile)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	lease, err := takeLease(ctx, o.cfg.Dir)
	if err != nil {
		return err
	}
	defer lease.Close()
	if o.procs == nil {
		s, err := readSettings(o.cfg.Dir)
		if err != nil {
			return err
		}
		o.procs = o.processes(s)
	}
	if err := o.end(ctx, o.procs[1:]); err != nil {
		return err
	}
	return o.end(ctx, o.procs[:1])
}

// end ends processes together.
func (o *Overlay) end(ctx context.Context, procs []*process) error {
	for _, p := range procs {
		if _, err := p.look(time.Now()); err != nil {
			return err
		}
		p.signal(syscall.SIGTERM)
	}
	deadline := time.Now().Add(stopBound)
	for {
		left := 0
		for _, p := range procs {
			if _, err := p.look(time.Now()); err != nil {
				return err
			}
			if p.alive {
				left++
				if time.Now().After(deadline) {
					p.signal(syscall.SIGKILL)
				}
			}
		}
		if left == 0 {
			return nil
		}
		if !pause(ctx, lookStarting) {
			return fmt.Errorf("stop overlay: %w", context.Cause(ctx))
		}
	}
}

// processes returns the controller and then the routers.
func (o *Overlay) processes(s settings) []*process {
	c := childConfig{
		Name: "controller", Home: filepath.Join(o.cfg.Dir, "controller"), Lease: filepath.Join(o.cfg.Dir, "hub.lock"),
		GraceMS: o.cfg.Grace.Milliseconds(), Address: s.Address, Advertise: s.Advertise, Port: s.Controller, LogBytes: o.cfg.LogBytes,
	}
	procs := []*process{{role: "controller", binary: o.cfg.Binary, cfg: c}}
	for _, r := range s.Routers {
		rc := c
		rc.Name, rc.Home, rc.Port, rc.LinkPort = r.Name, filepath.Join(o.cfg.Dir, r.Name), r.Edge, r.Link
		rc.ControllerPort, rc.ControllerHome = s.Controller, c.Home
		procs = append(procs, &process{role: "router", binary: o.cfg.Binary, cfg: rc})
	}
	return procs
}

// administrator of the controller, as the controller's process wrote it.
type administrator struct{ User, Password string }

func decodeAdministrator(b []byte) (administrator, error) {
	var a administrator
	err := json.Unmarshal(b, &a)
	if err == nil && (a.User == "" || a.Password == "") {
		err = errors.New("it has no name or no password")
	}
	if err != nil {
		return a, fmt.Errorf("parse overlay administrator: %w", err)
	}
	return a, nil
}

func (o *Overlay) readEndpoint(s settings) (Endpoint, error) {
	home := filepath.Join(o.cfg.Dir, "controller")
	b, err := os.ReadFile(filepath.Join(home, "admin.json"))
	if err != nil {
		return Endpoint{}, fmt.Errorf("read overlay administrator: %w", err)
	}
	admin, err := decodeAdministrator(b)
	if err != nil {
		return Endpoint{}, err
	}
	ca, err := os.ReadFile(filepath.Join(home, "pki", "ca.pem"))
	if err != nil {
		return Endpoint{}, fmt.Errorf("read overlay authority: %w", err)
	}
	return Endpoint{
		Controller: "https://" + s.advertised(s.Controller),
		User:       admin.User, Password: admin.Password, CA: ca,
	}, nil
}
