package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/archive"
	"github.com/nave-dev/nave/hub/bucket"
	"github.com/nave-dev/nave/hub/store"
	"github.com/nave-dev/nave/hub/store/embedded"
	"github.com/nave-dev/nave/internal/run"
)

// storage is everything in which the hub keeps what must survive.
type storage struct {
	store   *store.Store
	archive *archive.Archive
	objects *bucket.Bucket
	failed  <-chan error              // of the embedded etcd; nil: there is none
	sizes   func() (file, used int64) // of the embedded etcd; nil: there is none
	mu      sync.Mutex
	closers []func() // guarded by mu; of the parts that are open
}

// openStorage opens store, archive and bucket, side by side: each of the first two reads what it wrote last before it was killed.
func openStorage(ctx context.Context, c config, log *slog.Logger) (*storage, error) {
	s := &storage{}
	g := run.NewGroup(ctx)
	for name, open := range map[string]func(context.Context, config, *slog.Logger) error{"store": s.openStore, "archive": s.openArchive, "bucket": s.openBucket} {
		g.Go("open "+name, func(ctx context.Context) error { return open(ctx, c, log) })
	}
	err := g.Wait()
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx) // a part that was asked to end may not be open
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// closer remembers how a part is closed.
func (s *storage) closer(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closers = append(s.closers, f)
}

// close ends the use of all parts.
func (s *storage) close() {
	for _, f := range s.closers {
		f()
	}
}

// watch returns an error when an embedded part has ended, and nil when ctx has.
func (s *storage) watch(ctx context.Context) error {
	select {
	case err := <-s.failed:
		return fmt.Errorf("etcd ended: %w", err)
	case <-ctx.Done():
		return nil
	}
}

func (s *storage) openStore(ctx context.Context, c config, log *slog.Logger) (err error) {
	cfg := store.Config{Codec: navev1.Codec{}, Prefix: c.Etcd.Prefix}
	if len(c.Etcd.Endpoints) == 0 {
		etcd, err := embedded.Start(ctx, embedded.Config{Dir: filepath.Join(c.DataDir, "etcd"), Log: log})
		if err != nil {
			return err
		}
		s.closer(etcd.Close)
		s.failed, s.sizes, cfg.Client = etcd.Failed(), etcd.Sizes, etcd.Client()
		cfg.MaxOps, cfg.MaxBytes = embedded.MaxTxnOps, embedded.MaxRequestBytes
		s.store, err = store.Open(ctx, cfg)
		return err
	}
	cfg.MaxOps, cfg.MaxBytes = c.Etcd.MaxOps, c.Etcd.MaxBytes
	return reach(ctx, log, "etcd", func(ctx context.Context) (err error) {
		if cfg.Client, err = c.Etcd.dial(ctx, log); err != nil {
			return err
		}
		if s.store, err = store.Open(ctx, cfg); err != nil {
			return errors.Join(err, cfg.Client.Close())
		}
		s.closer(func() { cfg.Client.Close() })
		return nil
	})
}

// register adds the metrics of the embedded etcd. One that others run has its own.
func (s *storage) register(r prometheus.Registerer) error {
	if s.sizes == nil {
		return nil
	}
	return errors.Join(
		r.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "nave_etcd_file_bytes", Help: "Size of the embedded etcd's database file."},
			func() float64 { file, _ := s.sizes(); return float64(file) })),
		r.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "nave_etcd_used_bytes", Help: "Bytes of the embedded etcd's database that hold something; the rest is reused."},
			func() float64 { _, used := s.sizes(); return float64(used) })))
}

// archiveConfigOf says which database keeps history.
func archiveConfigOf(c config) (archive.Config, error) {
	if c.Archive.PostgreSQL.DSN == "" {
		return archive.Config{File: filepath.Join(c.DataDir, "archive", "nave.db"), Readers: c.Archive.Readers}, nil
	}
	password, err := c.Archive.PostgreSQL.Password.read("archive.postgresql")
	if err != nil {
		return archive.Config{}, err
	}
	dsn, err := c.Archive.PostgreSQL.connection(password)
	return archive.Config{PostgreSQL: dsn, Readers: c.Archive.Readers}, err
}

func (s *storage) openArchive(ctx context.Context, c config, log *slog.Logger) error {
	cfg, err := archiveConfigOf(c)
	if err != nil {
		return err
	}
	if cfg.File != "" {
		if err := os.MkdirAll(filepath.Join(c.DataDir, "archive"), 0o700); err != nil {
			return fmt.Errorf("make archive directory: %w", err)
		}
	}
	open := func(ctx context.Context) (err error) {
		s.archive, err = archive.Open(ctx, cfg)
		return inSection("archive", err)
	}
	if cfg.File == "" {
		err = reach(ctx, log, "archive", open)
	} else {
		err = open(ctx)
	}
	if err != nil {
		return err
	}
	s.closer(func() { s.archive.Close() })
	return nil
}

func (s *storage) openBucket(_ context.Context, c config, _ *slog.Logger) (err error) {
	if s.objects, err = bucket.OpenDirectory(c.Bucket.Directory); err != nil {
		return err
	}
	s.closer(func() { s.objects.Close() })
	return nil
}
