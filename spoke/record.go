package spoke

import "github.com/nave-dev/nave/api"

// record is one change of what the spoke must not forget. The present state is what all records together make of nothing,
// while the spoke runs as after a restart: [state.apply] is the only place that changes it.
type record interface{ record() }

type (
	positionRecord struct{ Position api.Position }

	// wantedRecord is a session at an epoch that was not known before.
	wantedRecord struct {
		Desired api.Desired // the revision with this cluster's override applied
		Raw     []byte      // the revision as it is in the journal
		Seen    uint64
	}
	// inboxRecord changes the unsettled signals.
	inboxRecord struct {
		Session api.SessionID
		Epoch   api.Epoch
		Put     []api.Signal
		Drop    []uint64
	}
	releasedRecord struct {
		Session api.SessionID
		Epoch   api.Epoch
	}
	verdictRecord struct {
		Session api.SessionID
		Epoch   api.Epoch
		Refused bool
		Reason  string
	}
	// attemptRecord is written before the workload is created.
	attemptRecord struct {
		Session api.SessionID
		Source  api.Source
	}
	// endedRecord says that the workload is confirmed gone.
	endedRecord struct {
		Session api.SessionID
		Source  api.Source
		Reason  string
		Failure api.StartFailure // kind of failed start
		Restart bool             // no failed start, and nobody asked for it
	}
	eventsRecord struct {
		Session api.SessionID
		Source  api.Source
		First   uint64
		Events  []api.Event
	}
	ackedRecord struct {
		Session api.SessionID
		Source  api.Source
		UpTo    uint64
	}
	// begunRecord lets the epoch that waited take the place of the older one.
	begunRecord struct {
		Session api.SessionID
		Epoch   api.Epoch
	}
	forgottenRecord struct {
		Session api.SessionID
		Epoch   api.Epoch
	}
	// outboxRecord and turnRecord are written by compaction only.
	outboxRecord struct {
		Session api.SessionID
		Source  api.Source
		Acked   uint64
	}
	turnRecord struct {
		Session  api.SessionID
		Epoch    api.Epoch
		Progress progress
		Closed   bool
	}
	// lapsedRecord ends the right to act of an epoch.
	lapsedRecord struct {
		Session api.SessionID
		Epoch   api.Epoch
	}
)

func (positionRecord) record()  {}
func (wantedRecord) record()    {}
func (inboxRecord) record()     {}
func (releasedRecord) record()  {}
func (verdictRecord) record()   {}
func (attemptRecord) record()   {}
func (endedRecord) record()     {}
func (eventsRecord) record()    {}
func (ackedRecord) record()     {}
func (begunRecord) record()     {}
func (forgottenRecord) record() {}
func (outboxRecord) record()    {}
func (turnRecord) record()      {}
func (lapsedRecord) record()    {}

// sessionOf is the session that a record is about; empty for none.
func sessionOf(r record) api.SessionID {
	switch r := r.(type) {
	case wantedRecord:
		return r.Desired.Session
	case inboxRecord:
		return r.Session
	case releasedRecord:
		return r.Session
	case verdictRecord:
		return r.Session
	case attemptRecord:
		return r.Session
	case endedRecord:
		return r.Session
	case eventsRecord:
		return r.Session
	case ackedRecord:
		return r.Session
	case begunRecord:
		return r.Session
	case forgottenRecord:
		return r.Session
	case outboxRecord:
		return r.Session
	case turnRecord:
		return r.Session
	case lapsedRecord:
		return r.Session
	}
	return ""
}
