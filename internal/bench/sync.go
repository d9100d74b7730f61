package main

import (
	"context"

	"github.com/nave-dev/nave/internal/bench/measure"
)

// syncScenario shows what the disk gives.
var syncScenario = measure.Scenario{
	Name:  "sync",
	About: "what a write of 2 KiB with a sync costs: no durable path can cost less. It is a floor itself and has none.",
	Run: func(_ context.Context, b *measure.Bench) error {
		s, err := measure.Syncs(b.Dir, b.Many(5000, 500))
		if err == nil {
			b.Latency("append of 2 KiB with fdatasync", s, nil, 0, 0, false)
		}
		return err
	},
}
