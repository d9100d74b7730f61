package hub

import (
	"maps"
	"slices"

	"github.com/nave-dev/nave/api"
)

// A signal has two watermarks: it is consumed when the record of a turn over it that is done is archived, and settled when a
// checkpoint that covers that turn is durable too. Between the two it stays in the store with a mark, and is not handed out.
//
// A mark counts only while the epoch lasts in which it was made: the next epoch begins from the last durable checkpoint, which
// does not have that turn. So nothing needs to be written when an epoch ends.

// consumed reports whether a signal has a mark that counts.
func (s *session) consumed(sig *api.Signal) bool {
	return sig.Consumed() && s.Assignment != nil && sig.ConsumedBy.Epoch == s.Assignment.Epoch
}

// attrDisproved says in checkpoint.saved why the checkpoint does not count.
const attrDisproved = "disproved"

// checkpointOf is the checkpoint that an event names.
func checkpointOf(ev api.Event) api.CheckpointID {
	return api.CheckpointID(ev.Attributes[api.AttrCheckpoint])
}

// disproved is checkpoint.saved of a checkpoint that is not in the bucket: an event like others, that covers nothing.
func disproved(ev api.Event) api.Event {
	ev.Attributes = maps.Clone(ev.Attributes)
	if ev.Attributes == nil {
		ev.Attributes = map[string]string{}
	}
	ev.Attributes[attrDisproved] = "the bucket does not have this checkpoint"
	return ev
}

// keep makes a checkpoint the last durable one; what is older than those that are kept is collected.
func (m *machine) keep(o *output, s *session, id api.CheckpointID) {
	if s.Checkpoint() == id {
		return
	}
	list := slices.DeleteFunc(slices.Clone(s.Checkpoints), func(c api.CheckpointID) bool { return c == id })
	list = append(list, id)
	s.Checkpoints = list[max(0, len(list)-api.KeepCheckpoints):]
	o.effect(effCollect{s.Org, s.ID, slices.Clone(s.Checkpoints)})
}
