package main

import (
	"github.com/nave-dev/nave/internal/bench/accept"
	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/internal/bench/shard"
)

// scenarios are all that is measured, in the order in which they run.
var scenarios = []measure.Scenario{
	syncScenario,
	accept.Scenario,
	shard.Scenario,
}
