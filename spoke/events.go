package spoke

import (
	"maps"
	"slices"

	"github.com/nave-dev/nave/api"
)

// Where a state directory comes from: the values of [api.AttrFrom].
const (
	stateKept   = "kept"
	stateLocal  = "local"
	stateBucket = "bucket"
	stateEmpty  = "empty"
	stateLost   = "lost"
)

// keep journals events of the present attempt that were checked. What depends on the events before is filled in: the signals
// that a restored state does not know of, and which kind of failed start an end is.
func (l *loop) keep(s *session, first uint64, events []api.Event) {
	id := s.workload()
	var run []api.Event
	flush := func() {
		if len(run) > 0 {
			l.change(eventsRecord{id.Session, id.Source(), first, run})
			first += uint64(len(run))
			run = nil
		}
	}
	for _, e := range events {
		e.Session, e.Source, e.Number, e.Cluster = id.Session, id.Source(), 0, ""
		switch e.Type {
		case api.EventState:
			flush()
			if e.Signals = s.forgets(e); len(e.Signals) > 0 {
				l.log.Warn("turns are forgotten: the state that was restored is from before them", "workload", id.String(), "signals", len(e.Signals))
			}
		case api.EventEnded:
			flush()
			f := failureOf(e)
			e.Attributes = maps.Clone(e.Attributes)
			delete(e.Attributes, api.AttrFailure)
			if f != "" && !s.Began && !s.asked() {
				if e.Attributes == nil {
					e.Attributes = map[string]string{}
				}
				e.Attributes[api.AttrFailure] = string(f)
			}
		}
		run = append(run, e)
	}
	flush()
}

// asked reports that somebody asked the present attempt to end.
func (s *session) asked() bool {
	_, ok := s.Stops[s.workload()]
	return ok || s.stopping()
}

// checkEvent refuses what a harness must not report.
func checkEvent(session api.SessionID, e api.Event, number uint64) error {
	if e.SourceNumber != number {
		return api.Invalid("event.source_number", "%d: want %d, the next one", e.SourceNumber, number)
	}
	switch e.Type {
	case api.EventStarted, api.EventEnded, api.EventTurn, api.EventMessage, api.EventTool, api.EventLog,
		api.EventThought, api.EventResult, api.EventPlan, api.EventUsage, api.EventNote:
	case api.EventAsked, api.EventTaken:
		if err := checkApproval(session, e); err != nil {
			return err
		}
	case api.EventSaved:
		if !checkpointOf(e).Valid() {
			return api.Invalid("event.attributes.checkpoint", "%.80q: want the id of a checkpoint", checkpointOf(e))
		}
	case api.EventState:
		from := e.Attributes[api.AttrFrom]
		if !slices.Contains([]string{stateKept, stateLocal, stateBucket, stateEmpty, stateLost}, from) {
			return api.Invalid("event.attributes.from", "%.40q: want %q, %q, %q, %q or %q", from, stateKept, stateLocal, stateBucket, stateEmpty, stateLost)
		}
		if c := checkpointOf(e); !c.Valid() && (c != "" || from != stateEmpty && from != stateLost) {
			return api.Invalid("event.attributes.checkpoint", "%.80q: want the id of a checkpoint", c)
		}
	case api.EventTurnDone:
		if c := checkpointOf(e); c != "" && !c.Valid() {
			return api.Invalid("event.attributes.checkpoint", "%.80q: want the id of a checkpoint, or none", c)
		}
		if !e.Outcome.Consumes() && e.Outcome != api.OutcomeFailed && e.Outcome != api.OutcomeCut {
			return api.Invalid("event.outcome", "%q: want %q, %q, %q or %q", e.Outcome, api.OutcomeDone, api.OutcomeCancelled, api.OutcomeFailed, api.OutcomeCut)
		}
	default:
		return api.Invalid("event.type", "%.60q is not reported by a harness", e.Type)
	}
	if n := eventSize(e); n > api.MaxEventBytes+4096 {
		return api.Invalid("event.text", "the event has %d bytes: at most %d are allowed", n, api.MaxEventBytes)
	}
	return nil
}

// checkApproval refuses an approval of another session, and one that is larger than the hub keeps.
func checkApproval(session api.SessionID, e api.Event) error {
	id := api.ApprovalID(e.Attributes[api.AttrApproval])
	if of, err := id.Session(); err != nil || of != session {
		return api.Invalid("event.attributes.approval", "%.60q: want the id of an approval of session %s", id, session)
	}
	if n := len(e.Attributes[api.AttrTitle]); n > api.MaxApprovalTitle {
		return api.Invalid("event.attributes.title", "%d bytes: at most %d are allowed", n, api.MaxApprovalTitle)
	}
	if n := len(e.Text); n > api.MaxApprovalDetail {
		return api.Invalid("event.text", "%d bytes of an approval: at most %d are allowed", n, api.MaxApprovalDetail)
	}
	return nil
}

func checkpointOf(e api.Event) api.CheckpointID {
	return api.CheckpointID(e.Attributes[api.AttrCheckpoint])
}
