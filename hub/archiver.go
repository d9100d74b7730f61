package hub

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nave-dev/nave/api"
)

// archiveRows bounds the events and settled signals of one transaction.
const archiveRows = 4000

// A transaction with fewer rows than archiveEnough begins at least archivePace after the one before. Events of the hub's own,
// for which nobody waits, wait archiveLinger for others to go with, unless something urgent comes to wait behind them.
const (
	archiveEnough = 256
	archivePace   = 2 * time.Millisecond
	archiveLinger = 10 * time.Millisecond
)

// archiver writes the appends of all shards, as many at a time as are waiting. It does not tick: it commits what is there.
type archiver struct {
	archive Archive
	log     *slog.Logger
	metrics *metrics
	post    func(context.Context, api.Shard, event) error
	in      chan shardAppends // one per shard at most
	hurried chan struct{}     // capacity 1

	mu    sync.Mutex
	stuck map[api.Shard]error // guarded by mu: the archive contradicts what the shard wants to append
}

type shardAppends struct {
	shard   api.Shard
	appends []Append
}

func newArchiver(a Archive, log *slog.Logger, m *metrics, post func(context.Context, api.Shard, event) error) *archiver {
	return &archiver{archive: a, log: log, metrics: m, post: post, in: make(chan shardAppends, api.Shards), hurried: make(chan struct{}, 1), stuck: map[api.Shard]error{}}
}

// submit hands appends over. A shard has one submission under way at most, so that the channel never fills.
func (a *archiver) submit(ctx context.Context, shard api.Shard, appends []Append) error {
	select {
	case a.in <- shardAppends{shard, appends}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// hurry ends the longer wait of what is gathered now, or of what is next: never too soon, since a wait saves work and no more.
func (a *archiver) hurry() {
	select {
	case a.hurried <- struct{}{}:
	default:
	}
}

func (a *archiver) run(ctx context.Context) error {
	var last time.Time // a transaction began
	for {
		select {
		case <-ctx.Done():
			return nil
		case first := <-a.in:
			all := a.gather(ctx, first, last)
			last = time.Now()
			for _, done := range a.write(ctx, all) {
				if err := a.post(ctx, done.shard, evArchived{done.appends}); err != nil {
					return nil // ctx ended
				}
			}
		}
	}
}

// gather takes what waits. Of little it waits for more until the last transaction is a while ago: the events of one message of a
// spoke come from the loops of their shards one after another, and each transaction costs a sync. A spoke waits for its
// acknowledgement: what comes from one ends the longer wait of the hub's own events.
func (a *archiver) gather(ctx context.Context, first shardAppends, last time.Time) []shardAppends {
	all, rows, urgent := []shardAppends{first}, first.rows(), first.urgent()
	began := time.Now()
	wait := func() time.Duration {
		paced := time.Until(last.Add(archivePace))
		if urgent {
			return paced
		}
		return max(paced, time.Until(began.Add(archiveLinger)))
	}
	later := time.NewTimer(wait())
	defer later.Stop()
	for over := false; rows < archiveRows; {
		if over || rows >= archiveEnough {
			select {
			case next := <-a.in:
				all, rows = append(all, next), rows+next.rows()
			default:
				return all
			}
			continue
		}
		select {
		case next := <-a.in:
			all, rows = append(all, next), rows+next.rows()
			if !urgent && next.urgent() {
				urgent = true
				later.Reset(wait())
			}
		case <-a.hurried:
			if !urgent {
				urgent = true
				later.Reset(wait())
			}
		case <-later.C:
			over = true
		case <-ctx.Done():
			over = true
		}
	}
	return all
}

// urgent reports whether it has more than events of the hub's own: a spoke waits for it, or signals leave the store with it.
func (s shardAppends) urgent() bool {
	return slices.ContainsFunc(s.appends, func(a Append) bool {
		return len(a.Settled)+len(a.Terminated) > 0 || slices.ContainsFunc(a.Events, func(ev api.Event) bool { return ev.Source != api.HubSource })
	})
}

func (s shardAppends) rows() (n int) {
	for _, a := range s.appends {
		n += len(a.Events) + len(a.Settled)
	}
	return n
}

func (s shardAppends) events() (n int) {
	for _, a := range s.appends {
		n += len(a.Events)
	}
	return n
}

// write appends until it succeeds and returns what is in the archive. Shards whose generation was passed are left out:
// their loops find out at their next commit.
func (a *archiver) write(ctx context.Context, all []shardAppends) []shardAppends {
	for pause := 10 * time.Millisecond; len(all) > 0; pause = min(2*pause, 2*time.Second) {
		var flat []Append
		var owner []int // index into all, per append
		for i, s := range all {
			for _, ap := range s.appends {
				flat, owner = append(flat, ap), append(owner, i)
			}
		}
		began, events := time.Now(), 0
		for _, s := range all {
			events += s.events()
		}
		err := a.archive.Append(ctx, flat)
		a.metrics.archived(events, began, err)
		if err == nil {
			return all
		}
		var stale *StaleError
		if errors.As(err, &stale) {
			drop := map[int]bool{}
			for _, i := range stale.Indexes {
				drop[owner[i]] = true
			}
			var kept []shardAppends
			for i, s := range all {
				if !drop[i] {
					kept = append(kept, s)
				}
			}
			all = kept
			continue
		}
		if len(all) > 1 && api.CodeOf(err) == api.CodeInternal {
			// One shard's broken invariant must not hold up the others: each goes alone.
			var done []shardAppends
			for _, s := range all {
				done = append(done, a.write(ctx, []shardAppends{s})...)
			}
			return done
		}
		if api.CodeOf(err) == api.CodeInternal {
			// Kept in the store and at the spoke; this shard settles no more until it is loaded anew.
			a.log.Error("append contradicts the archive", "shard", all[0].shard, "error", err)
			a.mu.Lock()
			a.stuck[all[0].shard] = err
			a.mu.Unlock()
			return nil
		}
		a.log.Warn("append to the archive repeated", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
	return nil
}

// broken returns an error that names the shards whose appends contradict the archive, or nil.
func (a *archiver) broken() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.stuck) == 0 {
		return nil
	}
	shards := slices.Sorted(maps.Keys(a.stuck))
	return api.Errorf(api.CodeInternal, "%d shards settle nothing until the hub is restarted, the first is %d: %w", len(shards), shards[0], a.stuck[shards[0]])
}

func (a *archiver) stuckShards() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.stuck)
}
