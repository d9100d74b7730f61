package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/internal/history"
)

const (
	org                  = api.DefaultOrg
	agentID api.ObjectID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
)

var limits = hub.Limits{PendingPerSession: 50, Window: 4}

// keys are session keys of one shard, which is the one that the simulator's hub owns.
var keys, shard = keysOfOneShard(3)

func keysOfOneShard(n int) (keys []string, shard api.Shard) {
	shard = api.ShardFor(org, agentID, "k0")
	for i := 0; len(keys) < n; i++ {
		if k := fmt.Sprint("k", i); api.ShardFor(org, agentID, k) == shard {
			keys = append(keys, k)
		}
	}
	return keys, shard
}

// revision is what every agent of the simulator is.
func revision() *api.ResolvedRevision {
	agent := (&api.AgentSpec{Environment: "e", Harness: api.HarnessSpec{Protocol: api.ProtocolCommand, Command: []string{"a"}},
		IdleTimeout: 2 * time.Second, StopAfter: 20 * time.Second, MaxDeliveries: 3, ApprovalHold: approvalHold, ApprovalExpiry: approvalExpiry}).WithDefaults()
	return &api.ResolvedRevision{AgentID: agentID, AgentName: "a", AgentRevision: 1, EnvironmentRevision: 1, Agent: agent, Environment: &api.EnvironmentSpec{}}
}

// World is one run.
type World struct {
	clock
	seed    uint64
	harsh   bool // faults happen
	store   *Store
	archive *Archive
	vault   *vault
	owner   *owner
	owners  int
	spokes  []*site
	pids    int
	down    time.Duration // the store answers nobody until then

	notes   []history.Accepted
	payload map[string]byte // by idempotency key
	calls   int
	ids     int
	ended   map[api.SessionID]bool // people terminated them
	books   []history.Witness
	acting  map[api.SessionID]map[*harness]bool
	asks    bool // agents ask for permissions, and people cancel
	asked   map[api.ApprovalID]*request
	levels  map[api.SessionID][]level // cancellations that were answered
	calling int                       // people who wait for an answer to a cancellation or to their own answer
	broken  []string                  // promises that did not hold
	deeds   map[string]int
	scripts []script
	lose    string        // of the next write: its request or its answer
	still   time.Duration // how long a suspended actor stands still; 0: by chance
	actors  []*actor
}

// New makes a world with a hub, two spokes, and nothing else to do.
func New(seed uint64) *World {
	w := &World{seed: seed, archive: NewArchive(), vault: &vault{of: map[api.SessionID][]saved{}}, payload: map[string]byte{},
		deeds: map[string]int{}, ended: map[api.SessionID]bool{}, acting: map[api.SessionID]map[*harness]bool{},
		asked: map[api.ApprovalID]*request{}, levels: map[api.SessionID][]level{}}
	w.rnd = rand.New(rand.NewPCG(seed, 0x6e617665))
	w.store = NewStore(func() time.Duration { return w.now })
	for _, c := range []api.ClusterID{"aws", "gcp"} {
		w.spokes = append(w.spokes, w.newSite(c))
	}
	w.startOwner()
	for _, s := range w.spokes {
		s.start()
	}
	w.after(0, "", w.beatOwner)
	return w
}

// did counts what happened, so that a run that did too little can be told.
func (w *World) did(what string) { w.deeds[what]++ }

// violated keeps that a promise does not hold.
func (w *World) violated(promise, format string, args ...any) {
	text := promise + ": " + fmt.Sprintf(format, args...)
	w.note("VIOLATED %s", text)
	if len(w.broken) < 20 {
		w.broken = append(w.broken, fmt.Sprintf("at %.3fs: %s", w.now.Seconds(), text))
	}
}

// acts notes whether an agent of a session acts. Two must never.
func (w *World) acts(h *harness, now bool) {
	of := w.acting[h.id.Session]
	if of == nil {
		of = map[*harness]bool{}
		w.acting[h.id.Session] = of
	}
	if !now {
		delete(of, h)
		return
	}
	of[h] = true
	if len(of) > 1 {
		w.violated("P4", "two agents act for session %s: %s begins", h.id.Session, h.id)
	}
}

// storeDown reports that the store answers nobody.
func (w *World) storeDown() bool { return w.now < w.down }

// fate decides at a point of an actor what becomes of it.
func (w *World) fate(a *actor, what string) fate {
	for _, s := range w.scripts {
		if f := s(a, what); f != fateGoOn {
			return f
		}
	}
	if !w.harsh {
		return fateGoOn
	}
	switch n := w.rnd.IntN(1500); {
	case n == 0:
		return fateDie
	case n < 8:
		return fateSuspend
	}
	return fateGoOn
}

// script decides the fate of actors in a named scenario.
type script func(a *actor, what string) fate

// suspended is how long a suspended actor stands still: mostly a moment, sometimes for long.
func (w *World) suspended() time.Duration {
	if w.still > 0 {
		return w.still
	}
	if w.chance(4) {
		return w.between(time.Second, 15*time.Second)
	}
	return w.between(time.Millisecond, 200*time.Millisecond)
}

// run lets time pass.
func (w *World) run(d time.Duration) {
	end := w.now + d
	for w.next(end) && len(w.broken) == 0 {
		w.check()
	}
}

// until lets time pass until something holds; it reports whether it did.
func (w *World) until(d time.Duration, ok func() bool) bool {
	end := w.now + d
	for !ok() {
		if !w.next(end) || len(w.broken) > 0 {
			return ok()
		}
		w.check()
	}
	return true
}

// err reports what did not hold, with the seed.
func (w *World) err() error {
	if len(w.broken) == 0 {
		return nil
	}
	return fmt.Errorf("seed %d:\n  %s", w.seed, strings.Join(w.broken, "\n  "))
}

// close ends what is suspended.
func (w *World) close() {
	for _, a := range w.actors {
		a.stop()
	}
}
