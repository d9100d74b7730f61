package ziti

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openziti/sdk-golang/ziti"

	"github.com/nave-dev/nave/internal/run"
)

const (
	stuckAfter  = 15 * time.Second // a call that is inside the SDK for so long does not hold up others any more
	maxSessions = 5                // of one node, those that are left and still in use included
)

// session is one context of the SDK. A node has one that is in use for what begins. When that one is stuck, or answers
// nothing, or was refused, the node leaves it for a fresh one; connections that it has live on, and it is closed with the
// last of them.
type session struct {
	sdk    ziti.Context
	call   chan struct{} // full while a call is inside the SDK; capacity 1
	authed atomic.Bool   // the first authentication has succeeded

	mu    sync.Mutex
	since time.Time // guarded by mu; when the present call began; zero without one
	users int       // guarded by mu; connections, listeners and calls
	left  bool      // guarded by mu; it is closed with its last user
	gone  func()    // guarded by mu; called when it is closed after it was left
}

func newSession(cfg *ziti.Config) (*session, error) {
	sdk, err := ziti.NewContext(cfg)
	if err != nil {
		return nil, err
	}
	return &session{sdk: sdk, call: make(chan struct{}, 1)}, nil
}

// hold counts a user.
func (s *session) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users++
}

// release takes a user off.
func (s *session) release() {
	s.mu.Lock()
	s.users--
	last := s.left && s.users == 0
	gone := s.gone
	s.mu.Unlock()
	if last {
		s.close()
		gone()
	}
}

// leave closes the session with its last user; gone is called then.
func (s *session) leave(gone func()) {
	s.mu.Lock()
	s.left, s.gone = true, gone
	s.users++ // this call, so that the last one is found below
	s.mu.Unlock()
	s.release()
}

// stuck reports whether a call has been inside the SDK for too long.
func (s *session) stuck() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.since.IsZero() && time.Since(s.since) > stuckAfter
}

func (s *session) began(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = at
}

// close ends the context of the SDK, and waits for it no longer than closeBound.
func (s *session) close() error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), closeBound, errNoAnswer)
	defer cancel()
	_, err := run.Bounded(ctx, func() (struct{}, error) { s.sdk.Close(); return struct{}{}, nil }, nil)
	return err
}

// authenticate does the first authentication; those after it are the SDK's affair. Called from inside a call.
func (s *session) authenticate() error {
	if s.authed.Load() {
		return nil
	}
	// The SDK asks for the controller's version by itself, beside what the context's owner begins, and reads then what
	// authenticating writes. This waits for the answer.
	if c, ok := s.sdk.(*ziti.ContextImpl); ok {
		c.CtrlClt.API.ControllerSupportsHa()
	}
	if err := s.sdk.Authenticate(); err != nil {
		return fmt.Errorf("authenticate: %w", wrap(err))
	}
	s.authed.Store(true)
	return nil
}

// bounded calls f inside the SDK. There is one call at a time in a session, and one that its caller gave up waiting for
// counts until it has really returned: the SDK's calls ignore their context for tens of seconds in front of a dead
// controller, where every retry would leave one more behind, and calls at the same time race with each other inside it.
func bounded[T io.Closer](ctx context.Context, s *session, f func(context.Context) (T, error)) (T, error) {
	var zero T
	select {
	case s.call <- struct{}{}:
	case <-ctx.Done():
		return zero, fmt.Errorf("wait for a former call into the overlay: %w", context.Cause(ctx))
	}
	s.hold()
	s.began(time.Now())
	return run.Bounded(ctx, func() (T, error) {
		defer func() {
			s.began(time.Time{})
			<-s.call
			s.release()
		}()
		if err := ctx.Err(); err != nil {
			return zero, context.Cause(ctx)
		}
		if err := s.authenticate(); err != nil {
			return zero, err
		}
		return f(ctx)
	}, func(late T) { _ = late.Close() })
}
