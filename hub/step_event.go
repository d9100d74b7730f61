package hub

import (
	"slices"
	"time"

	"github.com/nave-dev/nave/api"
)

// event is an input of step.
type event interface{ isEvent() }

type (
	// evSignal is a validated signal at the door. Ids were made by the caller; settled is what the archive knows of its key.
	evSignal struct {
		signal    api.Signal // Sequence and Session are step's to fill in
		newID     api.SessionID
		org       api.OrgID
		agent     api.ObjectID
		agentName string
		key       string
		settled   *SettledSignal
		unknown   error // the archive did not answer: the key may have been used
		dryRun    bool
		orgFull   bool              // the organization is at its limit of unsettled signals
		reply     func(signalReply) // called once; it must not block
	}
	// evIntent changes what people want of a session.
	evIntent struct {
		request IntentRequest
		reply   func(IntentAnswer, error) // called once; it must not block
	}
	// evCancel cancels the signals of a session up to one.
	evCancel struct {
		request CancelRequest
		reply   func(CancelAnswer, error) // called once; it must not block
	}
	// evAnswer answers an approval.
	evAnswer struct {
		request AnswerRequest
		reply   func(ApprovalView, error) // called once; it must not block
	}
	// evTend asks for what is owed to the approvals of a session.
	evTend struct{ session api.SessionID }
	// evDeltas is text of a session while it is written. Somebody follows it.
	evDeltas struct {
		cluster api.ClusterID
		session api.SessionID
		deltas  []api.Delta
	}
	// evPlaced is the answer to effPlace.
	evPlaced struct {
		session  api.SessionID
		decision api.Decision
		revision *api.ResolvedRevision // nil with err
		err      error                 // nothing could be decided; the session waits with this reason
	}
	// evAssigned tells how the commit of an assignment ended.
	evAssigned struct {
		record api.Session // as committed
		rev    *api.ResolvedRevision
		placed OutboxItem // that reports it
		ok     bool
	}
	// evRevised is the answer to effRevise: the present revision of the session's agent.
	evRevised struct {
		session  api.SessionID
		revision *api.ResolvedRevision // nil with err
		err      error
	}
	// evAttach is a spoke's new link: it gets everything of this shard. held are the sessions that it says it has, positions
	// the highest that it has seen of each shard.
	evAttach struct {
		cluster   api.ClusterID
		held      map[api.SessionID]api.Held
		positions map[api.Shard]api.Head
		ended     map[api.SessionID]api.OrgID // of the held ones that memory does not have: sessions that were terminated and are over
	}
	// evResync asks for everything of this shard for a cluster: something on the way there was left out, or it is time.
	evResync struct{ cluster api.ClusterID }
	// evHeld is what a spoke reports of one session.
	evHeld struct {
		cluster api.ClusterID
		held    api.Held
		ended   api.OrgID // of a session that memory does not have: whose it was, if it was terminated and is over
	}
	// evEvents is a batch of events from a spoke.
	evEvents struct {
		cluster api.ClusterID
		batch   api.EventBatch
		saved   map[api.CheckpointID]bool // those of its checkpoints that are in the bucket
		unknown error                     // the bucket did not answer: no checkpoint.saved can be taken
	}
	// evArchived tells that the appends in flight are in the archive.
	evArchived struct{ appends []Append }
	// evComplete follows evArchived: the archive has more of a session from which nothing may be missing now.
	evComplete struct{ session api.SessionID }
	// evFacts tells that a fact changed that may have kept sessions from being placed.
	evFacts struct{}
	// evHealth tells that a cluster was lost, or is heard again.
	evHealth struct {
		cluster api.ClusterID
		health  api.Health
	}
	// evFence tells for how long the lease of a cluster is gone at least, by the replica's own clock, about once a second. After
	// a change of owner it begins again.
	evFence struct {
		cluster api.ClusterID
		gone    time.Duration
		forget  bool // another spoke takes the cluster over, and what ran at the former one has stopped
	}
	// evSilent is what the loop makes of evFence, and of evHealth for a lost cluster.
	evSilent struct {
		cluster api.ClusterID
		name    string // for people
		gone    time.Duration
		forget  bool
	}
)

func (*evSignal) isEvent()  {}
func (evIntent) isEvent()   {}
func (evCancel) isEvent()   {}
func (evAnswer) isEvent()   {}
func (evTend) isEvent()     {}
func (evDeltas) isEvent()   {}
func (evPlaced) isEvent()   {}
func (evAssigned) isEvent() {}
func (evRevised) isEvent()  {}
func (evAttach) isEvent()   {}
func (evResync) isEvent()   {}
func (evHeld) isEvent()     {}
func (evEvents) isEvent()   {}
func (evArchived) isEvent() {}
func (evComplete) isEvent() {}
func (evFacts) isEvent()    {}
func (evHealth) isEvent()   {}
func (evFence) isEvent()    {}
func (evSilent) isEvent()   {}

// signalReply answers evSignal.
type signalReply struct {
	accepted api.Accepted
	err      error
}

// effect is an output of step that is performed after the batch is durable.
type effect interface{ isEffect() }

type (
	// effReply answers the sender of a signal.
	effReply struct {
		to    func(signalReply)
		reply signalReply
	}
	// effAnswer answers who changed an intent.
	effAnswer struct {
		to     func(IntentAnswer, error)
		answer IntentAnswer
		err    error
	}
	// effCancelled answers who cancelled.
	effCancelled struct {
		to     func(CancelAnswer, error)
		answer CancelAnswer
		err    error
	}
	// effAnswered answers who answered an approval.
	effAnswered struct {
		to       func(ApprovalView, error)
		approval ApprovalView
		err      error
	}
	// effDelta hands text to those who follow its session.
	effDelta struct{ delta api.Delta }
	// effPlace asks for a decision.
	effPlace struct{ request PlaceRequest }
	// effRevise asks for the present revision.
	effRevise struct{ request PlaceRequest }
	// effAppend hands events to the archive. One is in flight per shard.
	effAppend struct{ appends []Append }
	// effHurry tells that something urgent waits behind the append in flight.
	effHurry struct{}
	// effSend tells a spoke what is wanted.
	effSend struct {
		cluster  api.ClusterID
		full     bool
		sessions []api.Desired
	}
	// effAck tells a spoke what it may forget.
	effAck struct {
		cluster api.ClusterID
		ack     api.Ack
	}
	// effSide keeps events that are not of the present epoch where people can read them.
	effSide struct {
		cluster api.ClusterID
		batch   api.EventBatch
		at      time.Time
	}
	// effCollect removes the checkpoints of a session that are not kept.
	effCollect struct {
		org     api.OrgID
		session api.SessionID
		keep    []api.CheckpointID
	}
	// effPending tells how many more unsettled signals an organization has.
	effPending struct {
		org api.OrgID
		n   int
	}
	// effNotify tells readers that a session's log has grown, by these events; none: that it is over.
	effNotify struct {
		session api.SessionID
		events  []api.Event
	}
	// effUnplace tells that a decision came to nothing: the room that was kept for it is free. Dead: the cluster was not alive.
	effUnplace struct {
		cluster api.ClusterID
		session api.SessionID
		dead    bool
	}
	// effGap tells that what a spoke sent cannot be taken: its link must begin anew.
	effGap struct {
		cluster api.ClusterID
		err     error
	}
	// effBehind tells that a spoke has seen a later owner of this shard, or batches that are not in the store any more.
	effBehind struct {
		cluster api.ClusterID
		seen    api.Head
	}
	// effStale tells that a spoke reported what is not of the present epoch.
	effStale struct {
		cluster api.ClusterID
		session api.SessionID
		epoch   api.Epoch
	}
)

func (effReply) isEffect()     {}
func (effAnswer) isEffect()    {}
func (effCancelled) isEffect() {}
func (effAnswered) isEffect()  {}
func (effDelta) isEffect()     {}
func (effPlace) isEffect()     {}
func (effRevise) isEffect()    {}
func (effAppend) isEffect()    {}
func (effHurry) isEffect()     {}
func (effSend) isEffect()      {}
func (effAck) isEffect()       {}
func (effSide) isEffect()      {}
func (effCollect) isEffect()   {}
func (effPending) isEffect()   {}
func (effNotify) isEffect()    {}
func (effUnplace) isEffect()   {}
func (effGap) isEffect()       {}
func (effBehind) isEffect()    {}
func (effStale) isEffect()     {}

// output is what one event leads to.
type output struct {
	// apart is committed first, in pieces if there is much of it; what stands together in a group is never split. Only what
	// does no harm when the owner dies behind it: the next one finds the same to be done and does it again.
	apart     [][]Mutation
	mutations []Mutation // never split
	effects   []effect
	guard     *guard
	next      []event // what the machine is to take right after this, each by itself
}

// guard makes a commit depend on a cluster being alive: the mutations are committed alone and their outcome comes back as
// evAssigned: memory has not changed yet.
type guard struct {
	cluster  api.ClusterID
	assigned evAssigned // what comes back, but for ok
}

func (o *output) effect(e ...effect) { o.effects = append(o.effects, e...) }

func (o *output) mutate(org api.OrgID, m Mutation) {
	m.Org = org
	o.mutations = append(o.mutations, m)
}

// each lets f decide about one of many that do not depend on each other: what it changes is committed apart.
func (o *output) each(f func(*output)) {
	var one output
	f(&one)
	if o.apart = append(o.apart, one.apart...); len(one.mutations) > 0 {
		o.apart = append(o.apart, one.mutations)
	}
	o.effects = append(o.effects, one.effects...)
}

// aside adds a group to what is committed apart. A change of a signal of which the batch has an earlier one goes into the
// batch: it must not be written before that.
func (o *output) aside(org api.OrgID, group ...Mutation) {
	k := group[0].signal()
	for i := range group {
		group[i].Org = org
	}
	if k != (SignalKey{}) && slices.ContainsFunc(o.mutations, func(m Mutation) bool { return m.signal() == k }) {
		o.mutations = append(o.mutations, group...)
		return
	}
	o.apart = append(o.apart, group)
}

// signal is the signal that a mutation changes; zero for another one.
func (m Mutation) signal() SignalKey {
	switch {
	case m.PutSignal != nil:
		return SignalKey{m.PutSignal.Session, m.PutSignal.Sequence}
	case m.DeleteSignal != nil:
		return *m.DeleteSignal
	}
	return SignalKey{}
}
