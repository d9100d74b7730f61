package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/api"
)

// The exit codes of the program.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitDenied      = 4
	exitUnavailable = 5
	exitConflict    = 6
	exitFailing     = 7
	exitTimeout     = 124
	exitInterrupted = 130
)

// exits gives each code of an error its exit code.
var exits = map[api.Code]int{
	api.CodeInvalid: exitFailure, api.CodeNotFound: exitNotFound, api.CodeExists: exitConflict, api.CodeConflict: exitConflict,
	api.CodeInUse: exitConflict, api.CodeUnauthenticated: exitDenied, api.CodeDenied: exitDenied, api.CodeLimit: exitFailure,
	api.CodeUnavailable: exitUnavailable, api.CodeUnsupported: exitFailure, api.CodeFailed: exitFailure, api.CodeInternal: exitFailure,
}

func exitCodesTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit codes mean",
		Long: `Exit codes of nave:

  0    done; of a watch: ended by Ctrl-C, or by --timeout
  1    failed: the input was refused, a turn did not end well, a limit was reached, or a defect; of nave diff alone:
       there are differences
  2    wrong usage: an unknown command, flag or argument; of nave diff also what ends with 1 elsewhere
  3    not found, or not visible to the caller
  4    not authenticated, or not allowed
  5    the hub, or a part of it, is unavailable; the same command may be repeated
  6    in conflict with what is there: the name is taken, somebody else was faster or has answered, or it is in use
  7    nave status: something is failing; what it is stands on standard output
  124  the time of --timeout was over before what was waited for; nothing was taken back
  130  interrupted`,
	}
}

// silent is a result that is told by the exit code alone: what there is to say stands on standard output.
type silent struct{ code int }

func (s *silent) Error() string { return fmt.Sprintf("exit code %d", s.code) }

// timeoutError is a wait whose time is over.
type timeoutError struct{ err error }

func (e *timeoutError) Error() string { return e.err.Error() }
func (e *timeoutError) Unwrap() error { return e.err }

// timedOut makes a [timeoutError].
func timedOut(format string, args ...any) error {
	return &timeoutError{api.Errorf(api.CodeFailed, format, args...)}
}

// advice is an error with what to do about it, where the command knows that better than the code tells.
type advice struct {
	err    error
	remedy string
}

func (e *advice) Error() string { return e.err.Error() }
func (e *advice) Unwrap() error { return e.err }

// usageError is a wrong command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// usage makes a [usageError] from inside a command.
func usage(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// fail prints an error and returns its exit code.
func (a *app) fail(ctx context.Context, err error) int {
	if err == nil {
		return exitOK
	}
	if errors.Is(ctx.Err(), context.Canceled) && errors.Is(err, context.Canceled) {
		fmt.Fprintln(a.errOut, "interrupted")
		return exitInterrupted
	}
	var quiet *silent
	if errors.As(err, &quiet) {
		return quiet.code
	}
	text := clean(err.Error(), false)
	if r := a.remedy(err); r != "" {
		text = strings.TrimRight(text, ".") + "; " + clean(r, false)
	}
	fmt.Fprintln(a.errOut, "error: "+text)
	return exitOf(err)
}

// exitOf is the exit code of an error.
func exitOf(err error) int {
	var u *usageError
	var late *timeoutError
	switch {
	case errors.As(err, &u):
		return exitUsage
	case errors.As(err, &late):
		return exitTimeout
	}
	return exits[api.CodeOf(err)]
}
