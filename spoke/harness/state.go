package harness

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/checkpoint"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// Where the state of an attempt comes from: the values of [api.AttrFrom].
const (
	fromKept   = "kept"
	fromLocal  = "local"
	fromBucket = "bucket"
	fromEmpty  = "empty"
	fromLost   = "lost"
)

// restoreTries is how often a restore is tried while the bucket is not reached: over ten minutes, with the pauses of saving.
const restoreTries = 25

// Pauses after a checkpoint could not be taken or saved; each is twice the one before.
const (
	saveMin = time.Second
	saveMax = 30 * time.Second
)

// savePause is the pause after so many failures in a row.
func savePause(tries int) time.Duration {
	return min(saveMin<<min(max(tries-1, 0), 10), saveMax)
}

// state is the session's directories and their checkpoints. Its methods are called one after another: by the task that
// runs, and between tasks.
//
//	State/chunks    what checkpoint keeps, its marker too
//	State/aside     what was in the directories before a restore that has not succeeded
type state struct {
	w        *harnessv1.Workload
	session  api.SessionID
	vault    *vault
	attached <-chan struct{} // the spoke fetches for an attached harness
	log      *slog.Logger
	tries    int // of a restore while the bucket is not reached; 0: restoreTries

	store  *checkpoint.Store    // open from the restore on
	marked bool                 // the marker may stand
	saved  api.CheckpointID     // the last one in the bucket
	latest *checkpoint.Manifest // the last one that was restored or taken; nil: not known here
	base   *checkpoint.Manifest // of saved; nil: not known here
	kept   []kept               // that the next attempt may begin from, oldest first
	takes  int                  // since old chunks were removed
}

// kept is a checkpoint that an event names. The next attempt may begin from an earlier one until the spoke has that event.
type kept struct {
	id     api.CheckpointID
	number uint64 // of the event; 0 for what this attempt began from
}

func (s *state) roots() map[string]string {
	return map[string]string{"home": s.w.Home, "workspace": s.w.Workspace}
}

// restored says what an attempt begins from.
type restored struct {
	from string
	id   api.CheckpointID // empty: from nothing
	why  string           // it was lost
}

// close lets the next attempt open the store.
func (s *state) close() {
	if s.store != nil {
		_ = s.store.Close()
	}
}

// restore makes the directories what the description wants.
func (s *state) restore(ctx context.Context) (restored, error) {
	if err := os.MkdirAll(s.w.State, 0o700); err != nil {
		return restored{}, fmt.Errorf("make directory: %w", err)
	}
	var err error
	if s.store, err = checkpoint.Open(checkpoint.Config{Dir: filepath.Join(s.w.State, "chunks"), Log: s.log}); err != nil {
		return restored{}, err
	}
	s.marked = true
	latest, saved := api.CheckpointID(s.w.StateLatest), api.CheckpointID(s.w.StateSaved)
	wanted := latest
	if wanted == "" {
		wanted = saved
	}
	s.saved = saved
	if wanted == "" {
		return restored{from: fromEmpty}, s.empty()
	}
	if m, ok := s.store.Marker(); ok && m.Session == s.session && m.Checkpoint == wanted && s.whole() {
		s.known(wanted)
		return restored{from: fromKept, id: wanted}, nil
	}
	r, err := s.bring(ctx, wanted, saved)
	if err == nil && r.id == "" {
		return r, nil
	}
	if err == nil {
		s.known(r.id)
		if err = s.store.SetMarker(s.session, r.id); err == nil {
			err = checkpoint.Remove(s.aside())
		}
		return r, err
	}
	if ctx.Err() != nil {
		return restored{}, context.Cause(ctx)
	}
	if s.w.OnStateLoss != string(api.OnStateLossContinue) || api.CodeOf(err) == api.CodeUnavailable { // away is not lost
		return restored{}, err
	}
	s.log.Warn("the state is lost", "workload", s.w.Id, "checkpoint", wanted, "err", err)
	return restored{from: fromLost, why: err.Error()}, s.empty()
}

// bring restores from the chunks on this machine, else from the bucket.
func (s *state) bring(ctx context.Context, wanted, saved api.CheckpointID) (restored, error) {
	if err := s.clear(); err != nil {
		return restored{}, err
	}
	_, err := s.store.Restore(ctx, wanted, s.roots(), nil)
	if err == nil {
		return restored{from: fromLocal, id: wanted}, nil
	}
	if ctx.Err() != nil {
		return restored{}, err
	}
	if saved == "" { // nothing was ever durable: it begins anew, the spoke says which turns that forgets, and they are done again
		s.log.Warn("the state of turns that were never saved is lost", "workload", s.w.Id, "checkpoint", wanted, "err", err)
		return restored{from: fromEmpty, why: "the turns before were never saved, and their state is not on this machine any more"}, s.empty()
	}
	s.log.Info("the state is fetched", "workload", s.w.Id, "checkpoint", saved, "err", err)
	select {
	case <-s.attached:
	case <-ctx.Done():
		return restored{}, ctx.Err()
	}
	for tries := 1; ; tries++ {
		_, err := s.store.Restore(ctx, saved, s.roots(), s.vault.fetch)
		if err == nil {
			return restored{from: fromBucket, id: saved}, nil
		}
		if api.CodeOf(err) != api.CodeUnavailable || tries == orDefault(s.tries, restoreTries) || ctx.Err() != nil {
			return restored{}, err
		}
		s.log.Info("the bucket is not reached", "workload", s.w.Id, "err", err)
		t := time.NewTimer(savePause(tries))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return restored{}, err
		}
	}
}

// known remembers the manifests of what the attempt begins from.
func (s *state) known(id api.CheckpointID) {
	load := func(id api.CheckpointID) *checkpoint.Manifest {
		if id == "" {
			return nil
		}
		m, err := s.store.Load(id)
		if err != nil {
			s.log.Info("checkpoint is not here", "workload", s.w.Id, "checkpoint", id, "err", err)
			return nil
		}
		return m
	}
	s.latest, s.base = load(id), load(s.saved)
	s.kept = []kept{{id: id}}
}

// whole reports that the directories are there.
func (s *state) whole() bool {
	for _, d := range s.roots() {
		if fi, err := os.Lstat(d); err != nil || !fi.IsDir() {
			return false
		}
	}
	return true
}

// empty makes the directories empty.
func (s *state) empty() error {
	if err := s.clear(); err != nil {
		return err
	}
	for _, d := range s.roots() {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	return checkpoint.Remove(s.aside())
}

func (s *state) aside() string { return filepath.Join(s.w.State, "aside") }

// clear takes away what is in the directories. What an earlier attempt left is put aside until the restore has succeeded;
// what a restore left that did not is removed.
func (s *state) clear() error {
	if err := s.disturb(); err != nil {
		return err
	}
	_, err := os.Lstat(s.aside())
	again := err == nil
	if !again {
		if err := os.MkdirAll(s.aside(), 0o700); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	for name, d := range s.roots() {
		if err := putAside(d, filepath.Join(s.aside(), name), again); err != nil {
			return fmt.Errorf("put the former state aside: %w", err)
		}
	}
	return nil
}

// putAside moves a directory away. When one was moved there before, the present one is what a restore left: it is removed.
func putAside(dir, to string, again bool) error {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if again {
		if _, err := os.Lstat(to); err == nil {
			return checkpoint.Remove(dir)
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil { // one that is read-only does not move
		return err
	}
	return os.Rename(dir, to)
}

// disturb takes the marker away before the directories change.
func (s *state) disturb() error {
	if !s.marked {
		return nil
	}
	if err := s.store.ClearMarker(); err != nil {
		return err
	}
	s.marked = false
	return nil
}

// takesKept is after how many takes old chunks are removed though none was saved.
const takesKept = 16

// take makes a checkpoint of the directories as they are. The spoke has the events before first.
func (s *state) take(ctx context.Context, first uint64) (api.CheckpointID, error) {
	m, found, err := s.store.Take(ctx, s.roots(), s.base)
	if err != nil {
		return "", err
	}
	s.marked = true
	if err := s.store.SetMarker(s.session, m.ID()); err != nil {
		return "", err
	}
	s.latest = m
	s.log.Info("checkpoint taken", "workload", s.w.Id, "checkpoint", m.ID(), "files", found.Files, "read", found.Read, "added", found.Added)
	if found.SkippedCount > 0 {
		s.log.Info("not in the checkpoint", "workload", s.w.Id, "count", found.SkippedCount, "paths", found.Skipped)
	}
	if s.takes++; s.takes >= takesKept {
		s.collect(ctx, first)
	}
	return m.ID(), nil
}

// errRetake says that what is to be saved cannot be: a checkpoint is to be taken again, that refers to no other one.
var errRetake = errors.New("the checkpoint is to be taken again")

// save puts the last checkpoint into the bucket, unless it is there. The spoke has the events before first.
func (s *state) save(ctx context.Context, first uint64) (api.CheckpointID, error) {
	m := s.latest
	if m == nil {
		return "", errRetake
	}
	if !s.there(m.ID()) {
		header, content, err := s.store.Upload(ctx, m, s.session, api.Source{}) // the spoke knows the source
		if err == nil {
			err = s.vault.save(ctx, header, content)
		}
		if api.CodeOf(err) == api.CodeFailed { // a chunk is damaged here, or a pack gone there
			s.base = nil
			return "", errors.Join(errRetake, err)
		}
		if err != nil {
			return "", err
		}
		s.saved, s.base = m.ID(), m
	}
	s.collect(ctx, first)
	return s.saved, nil
}

// there reports that a checkpoint is in the bucket already.
func (s *state) there(id api.CheckpointID) bool { return id != "" && id == s.saved }

// collect removes what no attempt begins from any more.
func (s *state) collect(ctx context.Context, first uint64) {
	for len(s.kept) > 1 && s.kept[1].number < first {
		s.kept = s.kept[1:]
	}
	keep := []api.CheckpointID{s.latest.ID()}
	if s.saved != "" {
		keep = append(keep, s.saved)
	}
	for _, k := range s.kept {
		keep = append(keep, k.id)
	}
	s.takes = 0
	if err := s.store.Collect(ctx, keep...); err != nil && ctx.Err() == nil {
		s.log.Warn("old chunks were not removed", "workload", s.w.Id, "err", err)
	}
}

// named notes which event names a checkpoint.
func (s *state) named(id api.CheckpointID, number uint64) {
	s.kept = append(s.kept, kept{id, number})
}
