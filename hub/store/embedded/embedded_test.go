package embedded_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub/store/embedded"
	"github.com/nave-dev/nave/internal/run"
)

func start(t *testing.T, cfg embedded.Config) *embedded.Server {
	t.Helper()
	cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	s, err := embedded.Start(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestKeepsWhatWasWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	begin := time.Now()
	s := start(t, embedded.Config{Dir: dir})
	t.Logf("fresh start: %v", time.Since(begin))
	if _, err := s.Client().Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	begin = time.Now()
	s = start(t, embedded.Config{Dir: dir})
	t.Logf("restart: %v", time.Since(begin))
	resp, err := s.Client().Get(t.Context(), "k")
	if err != nil || len(resp.Kvs) != 1 || string(resp.Kvs[0].Value) != "v" {
		t.Fatalf("after the restart: %v, %v; want v", resp, err)
	}
}

func TestRefusesASecondServerOnTheDirectory(t *testing.T) {
	dir := t.TempDir()
	start(t, embedded.Config{Dir: dir})
	_, err := embedded.Start(t.Context(), embedded.Config{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if api.CodeOf(err) != api.CodeUnavailable {
		t.Fatalf("second Start = %v, want CodeUnavailable at once", err)
	}
}

func TestListensOnASocketWhenAsked(t *testing.T) {
	dir := t.TempDir()
	address := "unix://" + filepath.Join(dir, "s")
	start(t, embedded.Config{Dir: filepath.Join(dir, "etcd"), Listen: address})
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{address}, DialTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := c.Put(ctx, "k", "v"); err != nil {
		t.Fatalf("Put over the socket: %v", err)
	}
}

// A start reads the log from the last snapshot on: there must be one before long, and the files of the log are small.
func TestKeepsALogThatIsReadSoon(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	s := start(t, embedded.Config{Dir: dir})
	g := run.NewGroup(t.Context())
	for range 50 {
		g.Go("put", func(ctx context.Context) error {
			for range 50 {
				if _, err := s.Client().Put(ctx, "k", "v"); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if file, used := s.Sizes(); used <= 0 || file < used {
		t.Errorf("a file of %d bytes has %d in use", file, used)
	}
	s.Close()
	if snaps, err := filepath.Glob(filepath.Join(dir, "member", "snap", "*.snap")); err != nil || len(snaps) == 0 {
		t.Errorf("no snapshot after 2,500 transactions (%v)", err)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "member", "wal", "*.wal"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no log: %v", err)
	}
	for _, name := range logs {
		if info, err := os.Stat(name); err != nil || info.Size() > 17<<20 {
			t.Errorf("log file %v: %v, want 16 MiB", info, err)
		}
	}
}

func TestRefusesConfigs(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for _, tt := range []struct {
		field string
		cfg   embedded.Config
	}{
		{"dir", embedded.Config{Log: log}},
		{"log", embedded.Config{Dir: t.TempDir()}},
		{"listen", embedded.Config{Dir: t.TempDir(), Log: log, Listen: "http://0.0.0.0:2379"}},
		{"listen", embedded.Config{Dir: t.TempDir(), Log: log, Listen: "https://127.0.0.1:2379"}},
		{"start_timeout", embedded.Config{Dir: t.TempDir(), Log: log, StartTimeout: -1}},
	} {
		if s, err := embedded.Start(t.Context(), tt.cfg); api.CodeOf(err) != api.CodeInvalid || api.FieldOf(err) != tt.field {
			if s != nil {
				s.Close()
			}
			t.Errorf("Start(%+v) = %v, want CodeInvalid of %s", tt.cfg, err, tt.field)
		}
	}
}
