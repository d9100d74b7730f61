package main

import (
	"github.com/nave-dev/nave/internal/bench/accept"
	"github.com/nave-dev/nave/internal/bench/checkpoint"
	"github.com/nave-dev/nave/internal/bench/deliver"
	"github.com/nave-dev/nave/internal/bench/events"
	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/internal/bench/memory"
	"github.com/nave-dev/nave/internal/bench/shard"
	"github.com/nave-dev/nave/internal/bench/state"
)

// scenarios are all that is measured, in the order in which they run.
var scenarios = []measure.Scenario{
	syncScenario,
	accept.Scenario,
	shard.Scenario,
	deliver.Deliver,
	deliver.Wake,
	events.Scenario,
	checkpoint.Scenario,
	state.Restart,
	memory.Links,
	memory.Spoke,
	state.Etcd,
}
