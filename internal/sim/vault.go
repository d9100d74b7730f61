package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/nave-dev/nave/api"
)

// vault is the bucket's checkpoints: what the agent remembered.
type vault struct {
	of map[api.SessionID][]saved // in the order of their saving
}

type saved struct {
	id      api.CheckpointID
	content []uint64
}

// checkpointOf names a state of a session.
func checkpointOf(s api.SessionID, content []uint64) api.CheckpointID {
	sum := sha256.Sum256(fmt.Append(nil, s, content))
	return api.CheckpointID(hex.EncodeToString(sum[:]))
}

// put saves a checkpoint. One that is there stays, and counts as saved now.
func (v *vault) put(s api.SessionID, id api.CheckpointID, content []uint64) {
	v.of[s] = append(slices.DeleteFunc(slices.Clone(v.of[s]), func(c saved) bool { return c.id == id }), saved{id, content})
}

func (v *vault) get(s api.SessionID, id api.CheckpointID) ([]uint64, bool) {
	i := slices.IndexFunc(v.of[s], func(c saved) bool { return c.id == id })
	if i < 0 {
		return nil, false
	}
	return v.of[s][i].content, true
}

func (v *vault) has(s api.SessionID, id api.CheckpointID) bool {
	_, ok := v.get(s, id)
	return ok
}

// collect removes what was saved before the oldest of keep; everything with keep empty.
func (v *vault) collect(s api.SessionID, keep []api.CheckpointID) {
	oldest := len(v.of[s])
	for i, c := range v.of[s] {
		if slices.Contains(keep, c.id) {
			oldest = min(oldest, i)
		}
	}
	if len(keep) > 0 && oldest == len(v.of[s]) {
		return // none of them is there
	}
	var left []saved
	for i, c := range v.of[s] {
		if len(keep) > 0 && (i >= oldest || slices.Contains(keep, c.id)) {
			left = append(left, c)
		}
	}
	v.of[s] = left
}
