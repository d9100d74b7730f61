package identity

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
)

// How long keys count, and how often the API server is asked.
const (
	freshFor   = 5 * time.Minute  // after that they are asked for again; a key that was taken back counts no longer than that
	believed   = 30 * time.Minute // after the last answer, when the API server is away
	askPause   = 10 * time.Second // between two questions
	firstPause = time.Second      // the same, as long as there was no answer
	askLimit   = 5 * time.Second  // of one question
)

// keys are those of the API server as far as they are known.
type keys struct {
	fetch func(context.Context) (*keySet, error) // bounded by its context
	now   func() time.Time
	log   *slog.Logger

	mu     sync.Mutex
	set    *keySet       // of the last answer; nil: there was none
	read   time.Time     // when that was asked for
	asked  time.Time     // when the last question began
	failed error         // what became of it; nil: an answer
	flight chan struct{} // closed when the question under way has ended; nil: there is none
}

// found are the keys of one id.
type found struct {
	issuer string
	keys   []key
}

// find returns the keys of an id. A misfit when the API server has just said that there is no such key.
func (k *keys) find(ctx context.Context, id string) (found, error) {
	var mine []key
	has := func(s *keySet) bool { mine = s.keys[id]; return len(mine) > 0 }
	set, err := k.ask(ctx, has)
	if err != nil {
		return found{}, err
	}
	if !has(set) {
		return found{}, &misfit{claim: "kid", want: "the id of a published key"}
	}
	return found{set.issuer, mine}, nil
}

// current returns the keys of an answer that still counts.
func (k *keys) current(ctx context.Context) (*keySet, error) {
	return k.ask(ctx, func(*keySet) bool { return true })
}

// ask returns what the API server publishes. It asks when it does not know, when what it knows is old, and when that does not
// suffice; but not when it asked shortly before. Who can do without the answer does not wait for another's question.
func (k *keys) ask(ctx context.Context, suffices func(*keySet) bool) (*keySet, error) {
	k.mu.Lock()
	set, ok := k.knownLocked(suffices)
	flight := k.flight
	switch now := k.now(); {
	case ok && now.Sub(k.read) < freshFor, ok && !k.mayAskLocked(now): // a question ends before the next may begin
		k.mu.Unlock()
		return set, nil
	case flight != nil:
		k.mu.Unlock()
		select {
		case <-flight:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	case !k.mayAskLocked(now):
		err := k.failed
		k.mu.Unlock()
		if err == nil {
			err = errors.New("its key was not published when the API server was last asked")
		}
		return nil, unavailable(err)
	default:
		k.flight, k.asked = make(chan struct{}), now
		k.mu.Unlock()
		if _, err := run.Bounded(ctx, func() (struct{}, error) { k.question(ctx, now); return struct{}{}, nil }, nil); err != nil {
			return nil, err // the caller went; the others have their answer all the same
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	set, ok = k.knownLocked(suffices)
	if !ok && k.failed != nil || set == nil {
		return nil, unavailable(k.failed)
	}
	return set, nil
}

// away returns why the last question had no answer; nil when it had one.
func (k *keys) away() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed
}

// knownLocked returns the last answer while it counts, and whether it suffices.
func (k *keys) knownLocked(suffices func(*keySet) bool) (*keySet, bool) {
	if k.set == nil || k.now().Sub(k.read) >= believed {
		return nil, false
	}
	return k.set, suffices(k.set)
}

func (k *keys) mayAskLocked(now time.Time) bool {
	pause := askPause
	if k.set == nil {
		pause = firstPause
	}
	return k.asked.IsZero() || now.Sub(k.asked) >= pause
}

// question asks once. It outlives the caller, for whom others may wait too.
func (k *keys) question(ctx context.Context, began time.Time) {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), askLimit, errors.New("the API server did not answer in time"))
	defer cancel()
	set, err := k.fetch(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		k.set, k.read = set, began
	} else {
		k.log.Warn("the keys of the API server cannot be read", "error", err)
	}
	k.failed = err
	close(k.flight)
	k.flight = nil
}

func unavailable(err error) error {
	if err == nil {
		err = errors.New("the API server's keys are not known")
	}
	return &api.Error{Code: api.CodeUnavailable, Op: "verify token", Err: unsure{err}}
}

// unsure keeps from a caller what is the operator's to know, and lets the spoke unwrap it.
type unsure struct{ err error }

func (unsure) Error() string   { return "the token cannot be checked now; try again" }
func (u unsure) Unwrap() error { return u.err }
