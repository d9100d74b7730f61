package checkpoint

import (
	"path/filepath"
	"testing"
)

// A turn that leaves its state as it was costs the disk nothing but its marker, which is cleared and set without a sync.
func TestAStateThatDoesNotChangeIsNotWritten(t *testing.T) {
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	write(t, filepath.Join(home, "file"), noise(1, 1000))
	disk := newFaultyDisk(t.TempDir(), 0, lossNone)
	s, err := Open(Config{Dir: filepath.Join(dir, "state"), disk: disk})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	roots := map[string]string{"home": home}
	first, _ := takeNow(t, s, roots, nil)
	before := disk.n
	again, _ := takeNow(t, s, roots, nil)
	if err := s.Collect(t.Context(), again.ID()); err != nil {
		t.Fatal(err)
	}
	if again.ID() != first.ID() || disk.n != before {
		t.Errorf("checkpoint %.8s after %.8s, and %d changes of the disk; want the same one and none", again.ID(), first.ID(), disk.n-before)
	}
	before = disk.n
	if err := s.SetMarker(session, again.ID()); err != nil {
		t.Fatal(err)
	}
	if n := disk.n - before; n != 3 { // the new file, what is in it, and its name
		t.Errorf("%d changes of the disk for the marker, want 3", n)
	}
	before = disk.n
	if err := s.ClearMarker(); err != nil {
		t.Fatal(err)
	}
	if n := disk.n - before; n != 1 { // the name goes
		t.Errorf("%d changes of the disk to clear the marker, want 1", n)
	}
}
