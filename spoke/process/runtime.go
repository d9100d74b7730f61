package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
)

// Config is what a runtime needs.
type Config struct {
	Dir     string         // absolute; state of sessions and claims of workloads. Made with mode 0700
	Harness string         // absolute path of the nave-harness program
	Socket  string         // absolute path of the socket that the door serves; the same over restarts, harnesses outlive the spoke
	Flavors map[string]int // how many workloads of each flavor fit; default small 8, medium 4, large 2
	Path    string         // PATH of agents; default the directory of Harness, then /usr/local/bin:/usr/bin:/bin
	Cluster func() string  // id of the cluster, empty while it is not known; asked at each start; nil never knows
	Log     *slog.Logger   // required

	// Fates returns what became of sessions, as far as the hub says; an error when it says nothing. Required for Tidy.
	Fates     func(context.Context, []api.SessionID) (api.Fates, error)
	TidyEvery time.Duration // how often it is asked; default 1 min, 10 ms to 24 h
}

func (c *Config) validate() error {
	switch {
	case !filepath.IsAbs(c.Dir):
		return api.Invalid("Dir", "%q: want an absolute path", c.Dir)
	case !filepath.IsAbs(c.Harness):
		return api.Invalid("Harness", "%q: want the absolute path of nave-harness", c.Harness)
	case !filepath.IsAbs(c.Socket):
		return api.Invalid("Socket", "%q: want the absolute path that the door listens on", c.Socket)
	case c.Log == nil:
		return api.Invalid("Log", "is required")
	}
	for name, n := range c.Flavors {
		if err := api.ValidateName("Flavors", name); err != nil {
			return err
		}
		if n < 0 {
			return api.Invalid("Flavors", "%s: %d: want 0 or more", name, n)
		}
	}
	if len(c.Flavors) == 0 {
		c.Flavors = map[string]int{"small": 8, "medium": 4, "large": 2}
	}
	c.Path = cmp.Or(c.Path, filepath.Dir(c.Harness)+":/usr/local/bin:/usr/bin:/bin")
	if c.TidyEvery = cmp.Or(c.TidyEvery, time.Minute); c.TidyEvery < 10*time.Millisecond || c.TidyEvery > 24*time.Hour {
		return api.Invalid("TidyEvery", "%v: want 10ms to 24h", c.TidyEvery)
	}
	if c.Cluster == nil {
		c.Cluster = func() string { return "" }
	}
	return nil
}

// Runtime implements [spoke.Runtime] by local processes.
type Runtime struct {
	c Config

	mu   sync.Mutex    // held while claims are read or changed
	wake chan struct{} // holds one token when a deadline was set; full means that Run will look anyway
}

var _ spoke.Runtime = (*Runtime)(nil)

// New checks the configuration and makes the directories. It starts nothing.
func New(c Config) (*Runtime, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	r := &Runtime{c: c, wake: make(chan struct{}, 1)}
	for _, d := range []string{r.c.Dir, r.workloads(), r.sessions()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("make directory: %w", err)
		}
	}
	return r, nil
}

func (r *Runtime) workloads() string { return filepath.Join(r.c.Dir, "workloads") }
func (r *Runtime) sessions() string  { return filepath.Join(r.c.Dir, "sessions") }

func (r *Runtime) claim(id spoke.WorkloadID) claim {
	return claim{id: id, dir: filepath.Join(r.workloads(), id.String())}
}

// Run kills what has not ended by its deadline, until ctx ends.
func (r *Runtime) Run(ctx context.Context) error {
	for {
		next, err := r.tend(time.Now())
		if err != nil {
			r.c.Log.Warn("workloads cannot be looked after", "err", err)
			next = time.Now().Add(time.Second)
		}
		pause := time.Hour
		if !next.IsZero() {
			pause = max(time.Until(next), 10*time.Millisecond)
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-r.wake:
			t.Stop()
		case <-t.C:
		}
	}
}

// tend kills the workloads whose deadline is over and returns the next deadline, zero without one.
func (r *Runtime) tend(now time.Time) (next time.Time, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	claims, err := r.claimsLocked()
	if err != nil {
		return next, err
	}
	var errs []error
	for _, c := range claims {
		by, err := c.deadline()
		if err != nil || by.IsZero() {
			errs = append(errs, err)
			continue
		}
		alive, err := r.aliveLocked(c)
		switch {
		case err != nil:
			errs = append(errs, err)
		case alive && now.Before(by):
			if next.IsZero() || by.Before(next) {
				next = by
			}
		case alive:
			errs = append(errs, r.killLocked(c, "killed: it had not ended within its grace"))
		}
	}
	return next, errors.Join(errs...)
}

// Capacity implements [spoke.Runtime].
func (r *Runtime) Capacity(context.Context) (api.Capacity, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	claims, err := r.claimsLocked()
	if err != nil {
		return api.Capacity{}, err
	}
	used := make(map[string]int)
	for _, c := range claims {
		if alive, err := r.aliveLocked(c); err != nil {
			return api.Capacity{}, err
		} else if alive {
			w, err := c.description()
			if err != nil {
				return api.Capacity{}, err
			}
			used[w.Flavor]++
		}
	}
	out := api.Capacity{Runtime: "process", Missing: []string{"flavor.cpu", "flavor.memory", "network"}}
	for _, name := range slices.Sorted(maps.Keys(r.c.Flavors)) {
		out.Flavors = append(out.Flavors, api.FlavorCapacity{Flavor: name, Total: r.c.Flavors[name], Used: used[name]})
	}
	return out, nil
}

// Start implements [spoke.Runtime].
func (r *Runtime) Start(_ context.Context, w spoke.WorkloadSpec) error {
	if err := r.Refuse(w.Revision); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.claim(w.ID)
	switch err := os.Mkdir(c.dir, 0o700); {
	case errors.Is(err, os.ErrExist):
		return nil
	case err != nil:
		return fmt.Errorf("claim workload: %w", err)
	}
	pid, err := r.launchLocked(c, w)
	if err != nil {
		if kerr := c.sweep(0); kerr != nil { // the claim stays: something may run
			return errors.Join(err, kerr)
		}
		return errors.Join(err, os.RemoveAll(c.dir))
	}
	r.c.Log.Info("workload started", "workload", w.ID, "pid", pid)
	return nil
}

// Stop implements [spoke.Runtime].
func (r *Runtime) Stop(_ context.Context, id spoke.WorkloadID, grace time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.claim(id)
	if ok, err := c.exists(); err != nil || !ok {
		return err
	}
	alive, err := r.aliveLocked(c)
	if err != nil {
		return err
	}
	if !alive {
		if err := r.endedLocked(c); err != nil {
			return err
		}
		r.c.Log.Info("workload removed", "workload", id)
		return c.remove()
	}
	if grace <= 0 {
		return r.killLocked(c, "killed: it was stopped without a grace")
	}
	if err := c.setDeadline(time.Now().Add(grace)); err != nil {
		return err
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
	r.c.Log.Info("workload stopping", "workload", id, "grace", grace)
	return c.terminate()
}

// List implements [spoke.Runtime].
func (r *Runtime) List(context.Context) ([]spoke.Workload, error) {
	if _, err := r.tend(time.Now()); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	claims, err := r.claimsLocked()
	if err != nil {
		return nil, err
	}
	out := make([]spoke.Workload, 0, len(claims))
	for _, c := range claims {
		alive, err := r.aliveLocked(c)
		if err != nil {
			return nil, err
		}
		if alive {
			out = append(out, spoke.Workload{ID: c.id, State: spoke.WorkloadRunning})
			continue
		}
		if err := r.endedLocked(c); err != nil {
			return nil, err
		}
		exit, err := c.exit()
		if err != nil {
			return nil, err
		}
		out = append(out, spoke.Workload{ID: c.id, State: spoke.WorkloadEnded, Exit: exit.Reason, Failure: api.StartFailure(exit.Failure)})
	}
	return out, nil
}

// Verify reports an error when the process is not the harness of the workload. The door asks it.
func (r *Runtime) Verify(id spoke.WorkloadID, pid int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.claim(id)
	h, err := c.harness()
	switch {
	case err != nil:
		return err
	case h.pid == 0:
		return api.Errorf(api.CodeDenied, "no such workload was started here")
	case h.pid != pid || !h.alive():
		return api.Errorf(api.CodeDenied, "the harness of this workload is process %d", h.pid)
	}
	return nil
}

// claimsLocked lists the claims in the order of their names.
func (r *Runtime) claimsLocked() ([]claim, error) {
	entries, err := os.ReadDir(r.workloads())
	if err != nil {
		return nil, fmt.Errorf("list workloads: %w", err)
	}
	var claims []claim
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue // is being removed
		}
		id, err := spoke.ParseWorkloadID(e.Name())
		if err != nil {
			return nil, fmt.Errorf("list workloads: %w", err)
		}
		claims = append(claims, r.claim(id))
	}
	return claims, nil
}
