package main

import (
	"github.com/nave-dev/nave/internal/bench/events"
	"github.com/nave-dev/nave/internal/bench/measure"
)

// scenarios are all that is measured, in the order in which they run.
var scenarios = []measure.Scenario{
	syncScenario,
	events.Scenario,
}
