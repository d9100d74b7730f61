package clusters

import "github.com/nave-dev/nave/internal/bench/measure"

// Scenarios are all that is measured, in the order in which they run.
var Scenarios = []measure.Scenario{Start, Writes, Many}
