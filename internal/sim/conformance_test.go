package sim

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/archive/archivetest"
	"github.com/nave-dev/nave/hub/store/storetest"
	"github.com/nave-dev/nave/internal/boottime"
)

// locked lets the suite call the archive from several goroutines, and fill what a simulator does not read.
type locked struct {
	mu sync.Mutex
	*Archive
}

func (l *locked) do(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return &api.Error{Code: api.CodeUnavailable, Err: err}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return f()
}

func (l *locked) Raise(ctx context.Context, s api.Shard, g api.Generation) error {
	return l.do(ctx, func() error { return l.Archive.Raise(ctx, s, g) })
}

func (l *locked) Append(ctx context.Context, a []hub.Append) error {
	return l.do(ctx, func() error { return l.Archive.Append(ctx, a) })
}

func (l *locked) Ended(ctx context.Context, c api.ClusterID, ids []api.SessionID) (out []api.SessionID, err error) {
	err = l.do(ctx, func() error { out, err = l.Archive.Ended(ctx, c, ids); return err })
	return out, err
}

func (l *locked) LastEpochs(ctx context.Context, c api.ClusterID, ids []api.SessionID) (out map[api.SessionID]api.Epoch, err error) {
	err = l.do(ctx, func() error { out, err = l.Archive.LastEpochs(ctx, c, ids); return err })
	return out, err
}

func (l *locked) AppendSide(ctx context.Context, org api.OrgID, b api.EventBatch, c api.ClusterID, at time.Time) error {
	return l.do(ctx, func() error { return l.Archive.AppendSide(ctx, org, b, c, at) })
}

func (l *locked) Positions(ctx context.Context, s api.Shard) (out map[api.SessionID]hub.LogPosition, err error) {
	err = l.do(ctx, func() error { out, err = l.Archive.Positions(ctx, s); return err })
	return out, err
}

func (l *locked) Events(ctx context.Context, org api.OrgID, s api.SessionID, from uint64, limit int) (out []api.Event, err error) {
	err = l.do(ctx, func() error { out, err = l.Archive.Events(ctx, org, s, from, limit); return err })
	return out, err
}

func (l *locked) Keys(ctx context.Context, org api.OrgID, keys []hub.KeyScope) (out map[hub.KeyScope]hub.SettledSignal, err error) {
	err = l.do(ctx, func() error { out, err = l.Archive.Keys(ctx, org, keys); return err })
	return out, err
}

func (l *locked) Settled(ctx context.Context, ids []api.SignalID) (out map[api.SignalID]bool, err error) {
	err = l.do(ctx, func() error { out, err = l.Archive.Settled(ctx, ids); return err })
	return out, err
}

func (l *locked) Branch(ctx context.Context, s api.SessionID, src api.Source) (out hub.Branch, err error) {
	err = l.do(ctx, func() error { out, err = l.Archive.Branch(ctx, s, src); return err })
	return out, err
}

func (l *locked) EndedEpochs(ctx context.Context, c api.ClusterID, epochs []hub.SessionEpoch) (out map[hub.SessionEpoch]api.OrgID, err error) {
	err = l.do(ctx, func() error { out, err = l.Archive.EndedEpochs(ctx, c, epochs); return err })
	return out, err
}

func (l *locked) Side(ctx context.Context, org api.OrgID, s api.SessionID, after uint64, limit int) (out []hub.SideEvent, next uint64, err error) {
	err = l.do(ctx, func() error {
		next = after
		for i, ev := range l.side[s] {
			if uint64(i) >= after && len(out) < limit && l.orgs[s] == org {
				out, next = append(out, ev), uint64(i)+1
			}
		}
		return nil
	})
	return out, next, err
}

var errNotRead = errors.New("a simulator does not read it")

func (l *locked) Decisions(ctx context.Context, org api.OrgID, s api.SessionID, limit int) (out []api.Decision, err error) {
	err = l.do(ctx, func() error {
		for _, d := range slices.Backward(l.decisions[s]) {
			if len(out) < limit && l.orgs[s] == org {
				out = append(out, d)
			}
		}
		return nil
	})
	return out, err
}

func (*locked) DeadLetters(context.Context, api.OrgID, hub.DeadFilter, string, int) ([]hub.SettledSignal, string, error) {
	return nil, "", errNotRead
}
func (*locked) DeadLetter(context.Context, api.OrgID, api.SignalID) (hub.SettledSignal, error) {
	return hub.SettledSignal{}, errNotRead
}
func (*locked) Terminated(context.Context, api.OrgID, api.SessionID) (api.Session, error) {
	return api.Session{}, errNotRead
}
func (*locked) Prune(context.Context, time.Time, int) (int, error) { return 0, errNotRead }

// database is an archive that stays in memory from one opening to the next.
type database struct{ a *locked }

func (d *database) Open(*testing.T) archivetest.Archive { return d.a }

// TestArchiveConforms runs the suite of the real archives, but for what a simulator does not read.
func TestArchiveConforms(t *testing.T) {
	archivetest.RunOnly(t, func(*testing.T) archivetest.Database { return &database{&locked{Archive: NewArchive()}} },
		"Events", "Density", "Repeats", "Fence", "Raise", "Positions", "Keys", "SettledIDs", "Branches", "SideBranches", "Ended", "EndedEpochs", "LastEpochs", "SideAtOnce", "SideBesideTheLog",
		"ReadDuringAppends", "CancelledContext", "NothingIsNoRequest")
}

// replica lets the suite call the store from several goroutines. A simulator registers no clusters and has no definitions.
type replica struct {
	mu *sync.Mutex
	*Store
	absent
}

type absent interface {
	hub.Definitions
	hub.Clusters
	hub.Departures
	hub.Credentials
}

func (r *replica) CreateCluster(_ context.Context, c api.Cluster, _ api.JoinToken) (api.Cluster, error) {
	return c, nil
}

func (r *replica) Claim(ctx context.Context, s api.Shard) (api.Head, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Store.Claim(ctx, s)
}

func (r *replica) Load(ctx context.Context, s api.Shard) (hub.ShardContents, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Store.Load(ctx, s)
}

func (r *replica) Head(ctx context.Context, s api.Shard) (api.Head, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Store.Head(ctx, s)
}

func (r *replica) Commit(ctx context.Context, b []hub.Batch) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Store.Commit(ctx, b)
}

// TestStoreConforms runs the suite of the real stores, but for what a simulator does not use of them.
func TestStoreConforms(t *testing.T) {
	storetest.RunOnly(t, func(*testing.T) storetest.Stores {
		r := &replica{mu: new(sync.Mutex), Store: NewStore(boottime.Now)}
		return storetest.Stores{One: r, Other: r}
	}, "Shards/ClaimFences", "Shards/ConcurrentClaims", "Shards/ClaimsOfAllShards", "Shards/CommitIsAllOrNone", "Shards/AliveIsCompared", "Shards/ConsumedSignals", "Shards/LoadsManyKeys",
		"Shards/LoadsAtOneMoment", "Shards/Model", "Leases/SecondBootAndJournalTakeover", "Leases/Expiry")
}
