package main

import (
	"github.com/nave-dev/nave/internal/bench/checkpoint"
	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/internal/bench/memory"
)

// scenarios are all that is measured, in the order in which they run.
var scenarios = []measure.Scenario{
	syncScenario,
	checkpoint.Scenario,
	memory.Links,
	memory.Spoke,
}
