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

  0    done
  1    failed: the input was refused, a turn did not end well, a limit was reached, or a defect
  2    wrong usage: an unknown command, flag or argument
  3    not found, or not visible to the caller
  4    not authenticated, or not allowed
  5    the hub, or a part of it, is unavailable; the same command may be repeated
  6    in conflict with what is there: the name is taken, somebody else was faster, or it is in use
  130  interrupted`,
	}
}

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
	text := clean(err.Error(), false)
	if r := a.remedy(err); r != "" {
		text = strings.TrimRight(text, ".") + "; " + clean(r, false)
	}
	fmt.Fprintln(a.errOut, "error: "+text)
	var u *usageError
	if errors.As(err, &u) {
		return exitUsage
	}
	return exits[api.CodeOf(err)]
}

// remedy is what to do about an error when the error cannot know it.
func (a *app) remedy(err error) string {
	var u *usageError
	if errors.As(err, &u) {
		return "see nave --help"
	}
	switch api.CodeOf(err) {
	case api.CodeUnauthenticated:
		return fmt.Sprintf("the token of context %q is not accepted: give it a new one with nave context set", a.hub.Name)
	case api.CodeDenied:
		return "nave version --hub shows who you are"
	case api.CodeUnavailable:
		if a.hub.Address != "" {
			return fmt.Sprintf("check that the hub at %s runs and can be reached, then repeat the command", a.hub.Address)
		}
	case api.CodeConflict:
		return "read it again, then repeat"
	}
	return ""
}
