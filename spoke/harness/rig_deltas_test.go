package harness_test

import (
	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
)

// Deltas implements [spoke.DoorHandler].
func (h *handler) Deltas(spoke.WorkloadID, []api.Delta, int) {}
