package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/internal/run"
)

// lookWithin bounds a look at one part of the running hub.
const lookWithin = 3 * time.Second

// facts adds to what the brain knows what only the program knows: how its parts and its disk are.
func (p *program) facts(s *storage, b *brain, nw *network) func(context.Context, api.OrgID) hub.StatusFacts {
	return func(ctx context.Context, org api.OrgID) hub.StatusFacts {
		f := b.hub.Facts(ctx, org)
		f.Parts = look(ctx, map[string]func(context.Context) error{
			"etcd":    func(ctx context.Context) error { _, err := s.store.Holders(ctx); return err },
			"archive": func(ctx context.Context) error { return lookArchive(ctx, s) },
			"bucket":  func(context.Context) error { return lookDirectory(p.cfg.Bucket.Directory) },
			"overlay": func(ctx context.Context) error { return p.lookOverlay(ctx, nw) },
		})
		f.Disk = disk(p.cfg.DataDir)
		return f
	}
}

// look looks at all parts side by side.
func look(ctx context.Context, parts map[string]func(context.Context) error) map[string]error {
	ctx, cancel := context.WithTimeoutCause(ctx, lookWithin, fmt.Errorf("no answer within %v", lookWithin))
	defer cancel()
	found, mu := map[string]error{}, sync.Mutex{}
	g := run.NewGroup(ctx)
	for name, part := range parts {
		g.Go("look at "+name, func(ctx context.Context) error {
			_, err := run.Bounded(ctx, func() (struct{}, error) { return struct{}{}, part(ctx) }, nil)
			if err != nil && ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			mu.Lock()
			defer mu.Unlock()
			found[name] = err
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		found["look"] = err // a panic: the others were told to end
	}
	return found
}

// lookArchive asks for something that is not there.
func lookArchive(ctx context.Context, s *storage) error {
	_, err := s.archive.Terminated(ctx, api.DefaultOrg, "")
	if api.CodeOf(err) == api.CodeNotFound {
		return nil
	}
	return err
}

func lookDirectory(dir string) error {
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("write to %s: %w", dir, err)
	}
	return nil
}

// lookOverlay asks the controller whether the hub's service can be reached, and an embedded overlay for its processes.
func (p *program) lookOverlay(ctx context.Context, nw *network) error {
	if err := p.overlay.Serving(); err != nil {
		return err
	}
	switch n, err := nw.manager.Hosts(ctx); {
	case err != nil:
		return err
	case n == 0:
		return errors.New("no router offers the hub's service")
	}
	return nil
}

// disk is how full the disk of a directory is; nil when it does not say so.
func disk(dir string) *hub.DiskFacts {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return nil
	}
	return &hub.DiskFacts{Path: dir, Free: s.Bavail * uint64(s.Bsize), Total: s.Blocks * uint64(s.Bsize)}
}
