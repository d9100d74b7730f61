package hub

import "fmt"

// StaleError names the appends that an archive refused because a later owner of their shard raised the generation. It is
// inside an [api.Error] of CodeConflict; errors.As reaches it.
type StaleError struct {
	Indexes []int // into the appends of the call, ascending
}

// Error implements error.
func (e *StaleError) Error() string {
	return fmt.Sprintf("appends %v are of a generation that was passed: another replica owns their shards", e.Indexes)
}
