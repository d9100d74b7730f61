package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/nave-dev/nave/api"
)

// Restored says what a restore did.
type Restored struct {
	Manifest *Manifest
	Fetched  int64 // bytes of chunks that came from the bucket
	Local    bool  // everything was in the store, the manifest too
}

// Restore makes the directories what they were when the checkpoint was taken. Each must be missing or empty, its parent must
// be there and on the same file system; the keys of roots are the names that it was taken with.
//
// What the store lacks is fetched, verified and kept in the store; with a nil fetch it must have everything: CodeNotFound
// otherwise. Each directory is made beside its place and put there by one rename when it is whole. CodeFailed when something
// is damaged, with the name of the file and of the chunk, or a directory is not empty.
//
// The directories are not synced: see [Marker].
func (s *Store) Restore(ctx context.Context, id api.CheckpointID, roots map[string]string, fetch Fetch) (Restored, error) {
	s.op.Lock()
	defer s.op.Unlock()
	done, err := s.restore(ctx, id, roots, fetch)
	if err != nil {
		return Restored{}, fmt.Errorf("restore checkpoint %.16s: %w", id, err)
	}
	return done, nil
}

func (s *Store) restore(ctx context.Context, id api.CheckpointID, roots map[string]string, fetch Fetch) (Restored, error) {
	for _, name := range slices.Sorted(maps.Keys(roots)) {
		if err := free(roots[name]); err != nil {
			return Restored{}, err
		}
	}
	done := Restored{Local: true}
	m, err := s.Load(id)
	if api.CodeOf(err) == api.CodeNotFound && fetch != nil {
		done.Local = false
		m, err = fetchManifest(ctx, id, fetch)
	}
	if err != nil {
		return Restored{}, err
	}
	if err := m.checkRoots(roots); err != nil {
		return Restored{}, err
	}
	if done.Fetched, err = s.fill(ctx, m, fetch); err != nil {
		return Restored{}, err
	}
	if err := s.keep(m); err != nil {
		return Restored{}, err
	}
	again, err := s.writeRoots(ctx, m, roots, fetch)
	if err != nil {
		return Restored{}, err
	}
	done.Fetched += again
	done.Manifest, done.Local = m, done.Local && done.Fetched == 0
	return done, nil
}

// writeRoots makes all directories, then moves each into its place. It returns how much it fetched in place of damaged chunks.
func (s *Store) writeRoots(ctx context.Context, m *Manifest, roots map[string]string, fetch Fetch) (fetched int64, err error) {
	beside := make(map[string]string, len(roots))
	defer func() {
		for _, path := range beside {
			err = errors.Join(err, Remove(path))
		}
	}()
	for name, path := range roots {
		beside[name] = filepath.Clean(path) + ".restoring"
		if err := Remove(beside[name]); err != nil {
			return 0, fmt.Errorf("remove what an earlier restore left: %w", err)
		}
	}
	w, err := newWriter(ctx, s, m, fetch)
	if err != nil {
		return 0, err
	}
	defer w.close()
	if err := w.tree(beside); err != nil {
		return 0, err
	}
	for _, name := range slices.Sorted(maps.Keys(roots)) {
		if err := os.Remove(roots[name]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
		if err := os.Rename(beside[name], roots[name]); err != nil {
			return 0, err
		}
	}
	return w.fetched, nil
}

// free tells whether a directory may be put in this place.
func free(path string) error {
	d, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	names, err := d.Readdirnames(1)
	if len(names) > 0 {
		return api.Errorf(api.CodeFailed, "%s is not empty: move what is there aside", path)
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// checkRoots verifies that the manifest has exactly these roots.
func (m *Manifest) checkRoots(roots map[string]string) error {
	var names []string
	for w := m.walk(); w.next(); {
		if w.entry.Depth == 0 {
			names = append(names, string(w.entry.Name))
		}
	}
	if want := slices.Sorted(maps.Keys(roots)); !slices.Equal(names, want) {
		return api.Errorf(api.CodeFailed, "it has the directories %q, wanted are %q", names, want)
	}
	return nil
}

// Remove removes a directory with all that it holds, if it is there. Directories in it may be read-only, which stops
// [os.RemoveAll].
func Remove(path string) error {
	err := os.RemoveAll(path)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	r, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer r.Close()
	if err := open(r, filepath.Base(path), 0); err != nil {
		return err
	}
	return os.RemoveAll(path)
}

// open gives the owner the right to change a directory and those in it.
func open(r *os.Root, name string, depth int) error {
	info, err := r.Lstat(name)
	if err != nil || !info.IsDir() {
		return err
	}
	if depth > 2*maxDepth {
		return fmt.Errorf("%s: too many directories in each other", name)
	}
	if err := r.Chmod(name, 0o700); err != nil {
		return err
	}
	sub, err := r.OpenRoot(name)
	if err != nil {
		return err
	}
	defer sub.Close()
	names, err := list(sub)
	if err != nil {
		return err
	}
	for _, child := range names {
		if err := open(sub, child, depth+1); err != nil {
			return err
		}
	}
	return nil
}
