package checkpoint

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
)

// TestFilesThatTheirOwnerCannotRead takes, restores and removes as a user who is not root.
func TestFilesThatTheirOwnerCannotRead(t *testing.T) {
	r := newRig(t)
	r.file("closed", []byte("secret"))
	r.file("go/pkg/mod/x", []byte("read-only directories, as a module cache has them"))
	r.file("shut/below", []byte("y"))
	r.file("blind/below", []byte("z"))
	const somebody = 12345
	if err := filepath.Walk(r.dir, func(path string, _ os.FileInfo, err error) error {
		if err != nil || os.Geteuid() != 0 {
			return err
		}
		return os.Chown(path, somebody, somebody)
	}); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{"closed": 0, "go/pkg/mod": 0o555, "go/pkg/mod/x": 0o444, "shut": 0, "blind": 0o600} {
		if err := os.Chmod(filepath.Join(r.home, path), mode); err != nil {
			t.Fatal(err)
		}
	}
	want := tree(t, r.home)
	for dir := r.dir; dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	to := filepath.Join(r.dir, "to", "home")
	if err := os.Mkdir(filepath.Dir(to), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(to), 0o777); err != nil {
		t.Fatal(err)
	}
	var m *Manifest
	as(t, somebody, func() {
		if _, err := os.ReadFile(filepath.Join(r.home, "closed")); err == nil {
			t.Fatal("the test runs with all rights all the same")
		}
		var err error
		if m, _, err = r.s.Take(t.Context(), r.roots, nil); err != nil {
			t.Fatal(err)
		}
		if _, err = r.s.Restore(t.Context(), m.ID(), map[string]string{"home": to}, nil); err != nil {
			t.Fatal(err)
		}
	})
	if diff := cmp.Diff(want, tree(t, r.home)); diff != "" {
		t.Errorf("taking changed the tree:\n%s", diff)
	}
	if diff := cmp.Diff(want, tree(t, to)); diff != "" {
		t.Errorf("-taken +restored:\n%s", diff)
	}
	as(t, somebody, func() {
		if err := Remove(to); err != nil {
			t.Error(err)
		}
	})
	if _, err := os.Stat(to); err == nil {
		t.Error("it was not removed")
	}
}

// as runs f with the file system's rights of another user, if the test has the right to; it may be that user already.
func as(t *testing.T, user int, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := syscall.Setfsuid(user); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setfsuid(0)
	f()
}

// TestLongPaths has a path that no single call of the system takes.
func TestLongPaths(t *testing.T) {
	r := newRig(t)
	root, err := os.OpenRoot(r.home)
	if err != nil {
		t.Fatal(err)
	}
	at := root
	for i := range 60 { // 60 * 200 bytes; a call takes 4096
		name := fmt.Sprintf("%03d%s", i, strings.Repeat("x", 197))
		if err := at.Mkdir(name, 0o755); err != nil {
			t.Fatal(err)
		}
		next, err := at.OpenRoot(name)
		if err != nil {
			t.Fatal(err)
		}
		at.Close()
		at = next
	}
	if err := at.WriteFile("file", []byte("deep"), 0o644); err != nil {
		t.Fatal(err)
	}
	at.Close()
	m, _ := takeNow(t, r.s, r.roots, nil)
	to := filepath.Join(t.TempDir(), "home")
	if _, err := r.s.Restore(t.Context(), m.ID(), map[string]string{"home": to}, nil); err != nil {
		t.Fatal(err)
	}
	again, _ := takeNow(t, r.s, map[string]string{"home": to}, m)
	if again.ID() != m.ID() || m.Entries != 62 {
		t.Errorf("%d entries, then %d", m.Entries, again.Entries)
	}
}

// TestUploadBesideOtherWork uploads a checkpoint while later ones are taken and the store is collected.
func TestUploadBesideOtherWork(t *testing.T) {
	r := newRig(t)
	r.file("f", noise(1, 5<<20))
	first, _ := takeNow(t, r.s, r.roots, nil)
	g := run.NewGroup(t.Context())
	g.Go("upload", func(ctx context.Context) error {
		for range 5 {
			h, content, err := r.s.Upload(ctx, first, session, api.Source{})
			if err != nil {
				return err
			}
			if err := r.b.save(h, content); err != nil {
				return err
			}
		}
		return nil
	})
	for turn := range 5 {
		r.file(fmt.Sprint(turn), noise(100+turn, 3<<20))
		m, _ := takeNow(t, r.s, r.roots, nil)
		if err := r.s.Collect(t.Context(), first.ID(), m.ID()); err != nil {
			t.Error(err)
		}
		if err := os.Remove(filepath.Join(r.home, fmt.Sprint(turn))); err != nil {
			t.Error(err)
		}
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}
