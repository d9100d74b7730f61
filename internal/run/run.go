package run

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// Group owns tasks. The zero value is not usable; make one with [NewGroup].
type Group struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	mu  sync.Mutex
	err error // first error, guarded by mu
}

// NewGroup returns a group whose tasks get a context derived from ctx. The owner must call [Group.Wait].
func NewGroup(ctx context.Context) *Group {
	c, cancel := context.WithCancelCause(ctx)
	return &Group{ctx: c, cancel: cancel}
}

// Context returns the context that the group's tasks get. It is cancelled by the first error, by [Group.Stop], or with
// the parent.
func (g *Group) Context() context.Context { return g.ctx }

// Go starts a task. The name is part of the error that the task ends with.
func (g *Group) Go(name string, task func(context.Context) error) {
	g.wg.Add(1)
	go func() {
		defer g.wg.Done()
		g.ended(name, call(g.ctx, task))
	}()
}

// Stop asks the tasks to end without an error. It does not wait.
func (g *Group) Stop() { g.cancel(context.Canceled) }

// Wait blocks until every task has ended and returns the first error, or nil when all of them ended by themselves or
// because they were asked to.
func (g *Group) Wait() error {
	g.wg.Wait()
	g.cancel(context.Canceled)
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

func (g *Group) ended(name string, err error) {
	if err == nil || g.ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return
	}
	err = fmt.Errorf("%s: %w", name, err)
	g.mu.Lock()
	if g.err == nil {
		g.err = err
	}
	g.mu.Unlock()
	g.cancel(err)
}

// PanicError is what a task that panicked ends with.
type PanicError struct {
	Value any    // what was passed to panic
	Stack []byte // the stack of the task at that moment
}

// Error implements error.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.Value, e.Stack) }

// call runs the task and turns a panic into an error.
func call(ctx context.Context, task func(context.Context) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return task(ctx)
}

// Bounded calls f in a goroutine of its own and waits for it no longer than ctx lives. It is for calls into libraries
// that ignore their context. When ctx ends first, Bounded returns its cause and the late result is handed to discard
// (nil: dropped), which must release what f may have made.
func Bounded[T any](ctx context.Context, f func() (T, error), discard func(T)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1) // one result, so that a late f never blocks
	go func() {
		var r result
		r.err = call(ctx, func(context.Context) (err error) { r.v, err = f(); return err })
		done <- r
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		go func() {
			if r := <-done; r.err == nil && discard != nil {
				discard(r.v)
			}
		}()
		var zero T
		return zero, context.Cause(ctx)
	}
}
