package checkpoint

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sample makes a tree with one of everything.
func sample(t testing.TB, dir string) map[string]string {
	t.Helper()
	roots := map[string]string{"home": filepath.Join(dir, "home"), "workspace": filepath.Join(dir, "workspace")}
	h, w := roots["home"], roots["workspace"]
	write(t, filepath.Join(h, ".config/agent.json"), []byte(`{"model":"small"}`))
	write(t, filepath.Join(h, "empty"), nil)
	write(t, filepath.Join(w, "large"), append(noise(1, 3<<20), []byte(strings.Repeat("abc", 1<<19))...))
	write(t, filepath.Join(w, "again"), noise(1, 3<<20))
	write(t, filepath.Join(w, "name \xff\xfe\n"), []byte("not UTF-8"))
	write(t, filepath.Join(w, strings.Repeat("d", 200), strings.Repeat("e", 200), strings.Repeat("f", 255)), []byte("long"))
	for _, dir := range []string{filepath.Join(w, "no files"), filepath.Join(w, "read-only")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(w, "read-only/x"), []byte("x"))
	try := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	try(os.Chmod(filepath.Join(w, "read-only/x"), 0o400))
	try(os.Chmod(filepath.Join(w, "read-only"), 0o555))
	try(os.Chmod(filepath.Join(w, "again"), 0o755|os.ModeSetuid))
	try(os.Link(filepath.Join(w, "again"), filepath.Join(w, "hard")))
	try(os.Symlink("../../etc/passwd", filepath.Join(w, "outside")))
	try(os.Symlink("/etc", filepath.Join(w, "absolute")))
	try(os.Symlink("large", filepath.Join(w, "link")))
	try(os.Symlink("nowhere\xff", filepath.Join(w, "dangling")))
	try(syscall.Mkfifo(filepath.Join(w, "pipe"), 0o600))
	f, err := os.Create(filepath.Join(w, "holes"))
	try(err)
	_, err = f.WriteAt([]byte("in the middle"), 5<<20)
	try(err)
	try(f.Truncate(10 << 20))
	try(f.Close())
	try(os.Chtimes(filepath.Join(w, "large"), old, old))
	try(os.Chtimes(w, old, old))
	return roots
}

func TestRestoreGivesBackWhatWasTaken(t *testing.T) {
	dir := t.TempDir()
	roots := sample(t, dir)
	s := open1(t, filepath.Join(dir, "state"))
	m, found := takeNow(t, s, roots, nil)
	if want := []string{"workspace/pipe"}; !cmp.Equal(found.Skipped, want) {
		t.Errorf("skipped %q, want %q", found.Skipped, want)
	}
	b := newBucket()
	h := upload(t, s, m, b)
	if h.Pack > 5<<20 {
		t.Errorf("the pack has %d bytes: equal content is in it twice, or holes", h.Pack)
	}
	for _, test := range []struct {
		name  string
		store string
		fetch Fetch
		local bool
	}{
		{"from the store", filepath.Join(dir, "state"), nil, true},
		{"from the bucket", filepath.Join(dir, "other"), b.fetch, false},
		{"from the store that fetched it", filepath.Join(dir, "other"), nil, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			from := s
			if test.store != s.dir {
				from = open1(t, test.store)
				defer from.Close()
			}
			to := t.TempDir()
			defer Remove(filepath.Join(to, "workspace"))
			restored := map[string]string{"home": filepath.Join(to, "home"), "workspace": filepath.Join(to, "workspace")}
			done, err := from.Restore(t.Context(), m.ID(), restored, test.fetch)
			if err != nil {
				t.Fatal(err)
			}
			if done.Local != test.local {
				t.Errorf("local is %v, want %v", done.Local, test.local)
			}
			for name := range roots {
				if diff := cmp.Diff(tree(t, roots[name]), tree(t, restored[name])); diff != "" {
					t.Errorf("%s is not as it was (-was +is):\n%s", name, diff)
				}
			}
			sameHoles(t, filepath.Join(roots["workspace"], "holes"), filepath.Join(restored["workspace"], "holes"))
			again, _ := takeNow(t, from, restored, m)
			if again.ID() != m.ID() {
				t.Errorf("the restored tree has another checkpoint")
			}
		})
	}
}

func sameHoles(t *testing.T, a, b string) {
	t.Helper()
	blocks := func(path string) int64 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t).Blocks
	}
	if blocks(a) != blocks(b) || blocks(a) > 64 {
		t.Errorf("%d blocks became %d", blocks(a), blocks(b))
	}
}
