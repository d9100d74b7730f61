// Package run owns goroutines.
//
// Every goroutine of Nave is started through a [Group] by an owner that waits for it. A test in internal/arch
// refuses the go statement everywhere else.
//
// Invariants:
//
//  1. A Group ends only when every task that it started has ended.
//  2. The first error cancels the siblings; [context.Cause] of their context is that error.
//  3. A panic in a task becomes a [*PanicError] of that task; the process goes on to its orderly end.
//  4. A task that returns because its context was cancelled is not an error.
//
// [Together] is for goroutines that do the same at once: it merges their calls.
//
// The package imports the standard library only and logs nothing: what happened is in the error.
package run
