package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nave-dev/nave/api"
)

// againSoon is the pause before the next question when the hub's last answer named sessions: others may have left with them.
const againSoon = 200 * time.Millisecond

// Tidy asks the hub every [Config.TidyEvery] what became of the sessions whose state is kept here, and removes the state of those
// that it says are over or went on in another cluster, until ctx ends. A question has at most [api.MaxFates] sessions; those behind them have their turn next.
func (r *Runtime) Tidy(ctx context.Context) error {
	var after api.SessionID // the last one that was asked about
	for pause := r.c.TidyEvery; ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = r.c.TidyEvery
		asked, more, err := r.resting(after)
		if err != nil {
			r.c.Log.Warn("states of sessions cannot be listed", "error", err)
			continue
		}
		if len(asked) == 0 {
			after = ""
			continue
		}
		fates, err := r.c.Fates(ctx, asked)
		if err != nil {
			if ctx.Err() == nil {
				r.c.Log.Debug("not known what became of sessions", "error", err)
			}
			continue
		}
		after = ""
		if more {
			after = asked[len(asked)-1]
		}
		r.forgetAll(asked, fates.Ended, "it is over")
		r.forgetAll(asked, fates.Moved, "it went on in another cluster")
		if len(fates.Ended)+len(fates.Moved) > 0 {
			pause = min(pause, againSoon)
		}
	}
}

// forgetAll removes the state of those sessions that were asked about.
func (r *Runtime) forgetAll(asked, named []api.SessionID, why string) {
	for _, id := range named {
		if !slices.Contains(asked, id) {
			continue
		}
		if err := r.forget(id); err != nil {
			r.c.Log.Warn("state of a session is not removed", "session", id, "reason", why, "error", err)
			continue
		}
		r.c.Log.Info("state of a session removed", "session", id, "reason", why)
	}
}

// resting lists, in order and after the one given, sessions whose state is here and that no workload is of.
func (r *Runtime) resting(after api.SessionID) (ids []api.SessionID, more bool, err error) {
	entries, err := os.ReadDir(r.sessions())
	if err != nil {
		return nil, false, fmt.Errorf("list sessions: %w", err)
	}
	claimed, err := r.claimed()
	if err != nil {
		return nil, false, err
	}
	for _, e := range entries { // by name
		id := api.SessionID(strings.ToUpper(e.Name()))
		if strings.HasPrefix(e.Name(), ".") { // its removal was cut off
			if err := removeAll(filepath.Join(r.sessions(), e.Name())); err != nil {
				return nil, false, fmt.Errorf("remove state: %w", err)
			}
			continue
		}
		if _, err := api.ParseULID(string(id)); err != nil || strings.ToLower(string(id)) != e.Name() || id <= after || claimed[id] {
			continue
		}
		if len(ids) == api.MaxFates {
			return ids, true, nil
		}
		ids = append(ids, id)
	}
	return ids, false, nil
}

// claimed are the sessions that a workload is of.
func (r *Runtime) claimed() (map[api.SessionID]bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	claims, err := r.claimsLocked()
	if err != nil {
		return nil, err
	}
	out := map[api.SessionID]bool{}
	for _, c := range claims {
		out[c.id.Session] = true
	}
	return out, nil
}

// forget removes the state of a session, unless a workload of it came meanwhile. It leaves at once: half a state is none.
func (r *Runtime) forget(id api.SessionID) error {
	dir := filepath.Join(r.sessions(), strings.ToLower(string(id)))
	gone := filepath.Join(r.sessions(), "."+filepath.Base(dir))
	err := func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		claims, err := r.claimsLocked()
		if err != nil {
			return err
		}
		if slices.ContainsFunc(claims, func(c claim) bool { return c.id.Session == id }) {
			return api.Errorf(api.CodeFailed, "a workload of it is here")
		}
		return os.Rename(dir, gone)
	}()
	if err != nil {
		return err
	}
	return removeAll(gone)
}

// removeAll removes a tree. Directories that their owner locked are opened first: what an agent made may be so.
func removeAll(dir string) error {
	err := os.RemoveAll(dir)
	if !errors.Is(err, os.ErrPermission) {
		return err
	}
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, _ error) error { // what stays locked is found below
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}
