// Command nave-harness is the supervisor inside a workload. A runtime starts it with the path of the workload's description, or in
// a pod with the word pod, where it asks the spoke for the description. The agent's programs start it with a command: it then
// calls the supervisor of the workload that it runs in.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/version"
	"github.com/nave-dev/nave/spoke/harness"
	"github.com/nave-dev/nave/spoke/harness/local"
)

const usageText = `usage: nave-harness DESCRIPTION
       nave-harness pod
       nave-harness install PATH
       nave-harness COMMAND ...

The first form supervises the workload that a file describes; a runtime starts it. In a pod the second one asks the spoke
that its environment names for the description, and the third one copies this program to where another container of the
pod finds it. The commands are for programs of an agent, inside a turn:

  signal AGENT --key KEY -m TEXT | -f FILE | -   send a signal to another session
         [--idempotency-key K] [-o json]
  emit TEXT [--attribute NAME=VALUE]...          put a note into the session's log
  state [-o json]                                where the program runs
  version                                        the program's version

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 not allowed, 5 unavailable (the same command may be repeated),
6 in conflict with what is there, 130 interrupted.
`

func main() {
	switch args := os.Args[1:]; {
	case len(args) == 1 && args[0] == "pod":
		os.Exit(harness.Pod(os.Getenv, version.Version, os.Stderr))
	case len(args) == 1 && !isCommand(args[0]):
		os.Exit(harness.Main(args[0], version.Version, os.Stderr))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := program{in: os.Stdin, out: os.Stdout, errOut: os.Stderr, socket: os.Getenv("NAVE_API")}
	code := p.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

var commands = []string{"signal", "emit", "state", "version", "pod", "install", "help", "--help", "-h"}

// isCommand tells a command from a description, which is a path.
func isCommand(arg string) bool { return slices.Contains(commands, arg) }

// program is one command, and what it reads and writes.
type program struct {
	in          io.Reader
	out, errOut io.Writer
	socket      string // of the local API; empty outside of a turn
}

// usageError is a wrong command line.
type usageError struct{ error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// run does one command and returns the exit code.
func (p *program) run(ctx context.Context, args []string) int {
	err := p.command(ctx, args)
	var wrong usageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, pflag.ErrHelp):
		fmt.Fprint(p.out, usageText)
		return 0
	case errors.As(err, &wrong):
		fmt.Fprintf(p.errOut, "error: %v\n%s", err, usageText)
		return 2
	case ctx.Err() != nil:
		fmt.Fprintln(p.errOut, "interrupted")
		return 130
	}
	fmt.Fprintf(p.errOut, "error: %v\n", err)
	return exitOf(err)
}

func (p *program) command(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return usage("a description or a command is missing")
	}
	switch args[0] {
	case "signal":
		return p.signal(ctx, args[1:])
	case "emit":
		return p.emit(ctx, args[1:])
	case "state":
		return p.state(ctx, args[1:])
	case "install":
		return p.install(args[1:])
	case "pod":
		return usage("pod: want no argument")
	case "version":
		_, err := fmt.Fprintln(p.out, version.Version)
		return err
	case "help", "--help", "-h":
		return pflag.ErrHelp
	}
	return usage("%q is not a command", args[0])
}

// api makes a client of the harness of the workload that this runs in.
func (p *program) api() (*local.Client, error) {
	if p.socket == "" {
		return nil, api.Errorf(api.CodeFailed, "NAVE_API is not set: this command works only inside a workload, in a program that the agent starts during a turn")
	}
	return local.Dial(p.socket), nil
}

// exitOf is the exit code for an error, as that of nave is.
func exitOf(err error) int {
	switch api.CodeOf(err) {
	case api.CodeNotFound:
		return 3
	case api.CodeUnauthenticated, api.CodeDenied:
		return 4
	case api.CodeUnavailable:
		return 5
	case api.CodeExists, api.CodeConflict, api.CodeInUse:
		return 6
	}
	return 1
}
