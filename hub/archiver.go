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

// archiveLinger is how long events of the hub's own wait for others to go with. A spoke waits for its acknowledgement and is
// never made to wait: whatever else comes is written at once, with all that is there.
const archiveLinger = 3 * time.Millisecond

// archiver writes the appends of all shards, as many at a time as are waiting. It does not tick: it commits what is there, but
// for what nobody waits for (see archiveLinger).
type archiver struct {
	archive Archive
	log     *slog.Logger
	metrics *metrics
	post    func(context.Context, api.Shard, event) error
	in      chan shardAppends // one per shard at most

	mu    sync.Mutex
	stuck map[api.Shard]error // guarded by mu: the archive contradicts what the shard wants to append
}

type shardAppends struct {
	shard   api.Shard
	appends []Append
}

func newArchiver(a Archive, log *slog.Logger, m *metrics, post func(context.Context, api.Shard, event) error) *archiver {
	return &archiver{archive: a, log: log, metrics: m, post: post, in: make(chan shardAppends, api.Shards), stuck: map[api.Shard]error{}}
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

func (a *archiver) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case first := <-a.in:
			for _, done := range a.write(ctx, a.gather(ctx, first)) {
				if err := a.post(ctx, done.shard, evArchived{done.appends}); err != nil {
					return nil // ctx ended
				}
			}
		}
	}
}

// gather takes what is waiting, and goes on for a moment while nobody waits for any of it.
func (a *archiver) gather(ctx context.Context, first shardAppends) []shardAppends {
	all, rows, urgent := []shardAppends{first}, first.rows(), first.urgent()
	var linger <-chan time.Time
	for rows < archiveRows {
		select {
		case next := <-a.in:
			all, rows, urgent = append(all, next), rows+next.rows(), urgent || next.urgent()
			continue
		default:
		}
		if urgent {
			break
		}
		if linger == nil {
			linger = time.After(archiveLinger)
		}
		select {
		case next := <-a.in:
			all, rows, urgent = append(all, next), rows+next.rows(), urgent || next.urgent()
		case <-linger:
			return all
		case <-ctx.Done():
			return all
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
