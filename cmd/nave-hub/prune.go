package main

import (
	"context"
	"time"
)

// Bounds of forgetting.
const (
	pruneEvery = time.Hour
	pruneRows  = 1000 // at a time, so that appends get between
)

// prune forgets settled signals and their idempotency keys when their time has passed. It begins when every shard is loaded:
// what the store still holds must not be forgotten.
func (p *program) prune(ctx context.Context, s *storage, ready func() error) error {
	every := time.NewTicker(pruneEvery)
	defer every.Stop()
	for {
		if ready() == nil {
			p.pruneOnce(ctx, s)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
	}
}

func (p *program) pruneOnce(ctx context.Context, s *storage) {
	before := time.Now().Add(-p.cfg.Retention)
	for total := 0; ; {
		n, err := s.archive.Prune(ctx, before, pruneRows)
		if err != nil {
			if ctx.Err() == nil {
				p.log.Warn("old signals not forgotten, trying again in an hour", "error", err)
			}
			return
		}
		total += n
		if n < pruneRows {
			if total > 0 {
				p.log.Info("old signals forgotten", "signals", total, "before", before)
			}
			return
		}
	}
}
