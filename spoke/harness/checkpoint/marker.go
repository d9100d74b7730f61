package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nave-dev/nave/api"
)

// Marker says that the state directory is exactly as in a checkpoint.
type Marker struct {
	Session    api.SessionID    `json:"session"`
	Checkpoint api.CheckpointID `json:"checkpoint"`
	// Boot is the start of the machine that the marker was set in. The state directory itself is never synced: after a crash of
	// the machine it may lack what the marker promises.
	Boot string `json:"boot"`
}

func (s *Store) markerPath() string { return filepath.Join(s.dir, "marker") }

// SetMarker says that the state directory is as in the checkpoint: nothing runs that could change it. It does not sync: one that
// a crash of the machine left behind is not believed anyway.
func (s *Store) SetMarker(session api.SessionID, checkpoint api.CheckpointID) error {
	b, err := json.Marshal(Marker{Session: session, Checkpoint: checkpoint, Boot: s.boot})
	if err != nil {
		return fmt.Errorf("set marker: %w", err)
	}
	if err := s.replace(s.markerPath(), append(b, '\n'), func(file) error { return nil }); err != nil {
		return fmt.Errorf("set marker: %w", err)
	}
	return nil
}

// ClearMarker takes the marker away. It comes before anything may change the state directory. It does not sync: while the
// machine runs the marker is gone, and one that a crash of the machine brings back is of an earlier start of it.
func (s *Store) ClearMarker() error {
	if err := s.disk.Remove(s.markerPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("clear marker: %w", err)
	}
	return nil
}

// Marker returns the marker. It is false when there is none that can be believed: it was cleared, is damaged, or the machine
// was started since.
func (s *Store) Marker() (Marker, bool) {
	b, err := os.ReadFile(s.markerPath())
	var m Marker
	if err != nil || json.Unmarshal(b, &m) != nil || !m.Checkpoint.Valid() || m.Boot == "" || m.Boot != s.boot {
		return Marker{}, false
	}
	return m, true
}

// bootID names the present start of the machine; empty when the system does not tell.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(b))
}
