package archive_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub/archive"
	"github.com/nave-dev/nave/hub/archive/archivetest"
)

// database opens an archive, one at a time.
type database struct {
	cfg archive.Config
	now *archive.Archive
}

func (d *database) Open(t *testing.T) archivetest.Archive {
	t.Helper()
	if d.now != nil {
		if err := d.now.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	} else {
		t.Cleanup(func() { _ = d.now.Close() })
	}
	d.now = open(t, d.cfg)
	return d.now
}

func open(tb testing.TB, cfg archive.Config) *archive.Archive {
	tb.Helper()
	a, err := archive.Open(tb.Context(), cfg)
	if err != nil {
		tb.Fatalf("Open: %v", err)
	}
	return a
}

func TestSQLite(t *testing.T) {
	archivetest.Run(t, func(t *testing.T) archivetest.Database {
		return &database{cfg: archive.Config{File: filepath.Join(t.TempDir(), "with space & 100%.db")}}
	})
	t.Run("ARaiseFencesAnotherReplica", func(t *testing.T) {
		testFenceAcross(t, archive.Config{File: filepath.Join(t.TempDir(), "a.db")})
	})
}

func TestRefusesANewerDatabase(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.db")
	if err := open(t, archive.Config{File: file}).Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode = %v, %v; want 0600", info, err)
	}
	db, err := sql.Open("sqlite", "file:"+file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (9, 1)"); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Open(t.Context(), archive.Config{File: file}); api.CodeOf(err) != api.CodeUnsupported {
		t.Fatalf("Open = %v, want CodeUnsupported", err)
	}
}

func TestRefusesWhatIsNoDatabase(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.db")
	if err := os.WriteFile(file, []byte("this is a text, long enough that nobody takes it for the beginning of a database; it goes on and on"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Open(t.Context(), archive.Config{File: file}); api.CodeOf(err) != api.CodeInternal {
		t.Fatalf("Open = %v, want CodeInternal", err)
	}
}

func TestRefusesConfigs(t *testing.T) {
	for _, tt := range []struct {
		field string
		cfg   archive.Config
	}{
		{"file", archive.Config{}},
		{"file", archive.Config{File: "a", PostgreSQL: "b"}},
		{"readers", archive.Config{File: "a", Readers: -1}},
		{"timeout", archive.Config{File: "a", Timeout: -1}},
	} {
		if _, err := archive.Open(t.Context(), tt.cfg); api.CodeOf(err) != api.CodeInvalid || api.FieldOf(err) != tt.field {
			t.Errorf("Open(%+v) = %v, want CodeInvalid of %s", tt.cfg, err, tt.field)
		}
	}
}
