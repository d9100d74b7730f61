package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/nave-dev/nave/hub/client"
)

// app is one run of the program.
type app struct {
	in          io.Reader
	out         *sink
	errOut      io.Writer
	env         func(string) string
	now         func() time.Time
	terminal    bool // out is a terminal: escape control characters
	interactive bool // in is a terminal: ask before what cannot be undone
	colours     bool
	height      func() int    // lines of the terminal; 0: not known
	interval    time.Duration // between two looks of a watch

	context      string        // --context
	organization string        // --organization
	output       string        // --output
	timeout      time.Duration // --timeout; 0: default
	started      bool          // a command began: later errors are not of usage
	command      *cobra.Command
	attempts     int // of a call; 0: as many as the client makes
	hub          client.Context
}

// run is the whole program but for the process around it. env looks an environment variable up, as os.Getenv does.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env func(string) string) int {
	a := &app{in: stdin, out: &sink{w: stdout}, errOut: stderr, env: env, now: time.Now, interval: defaultInterval}
	a.terminal = isTerminal(stdout)
	a.interactive = isTerminal(stdin)
	a.colours = a.terminal && env("NO_COLOR") == "" && env("TERM") != "dumb"
	a.height = func() int { return heightOf(stdout) }
	return a.run(ctx, args)
}

func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.errOut)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = a.out.err
	}
	if err != nil && !a.started {
		err = &usageError{err}
	}
	return a.fail(ctx, err)
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// heightOf is how many lines a terminal has; 0 when it does not say.
func heightOf(stream any) int {
	f, ok := stream.(*os.File)
	if !ok {
		return 0
	}
	_, height, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return height
}

// sink remembers the first failure of the output, so that a reader that went away is noticed.
type sink struct {
	w   io.Writer
	err error
}

func (s *sink) Write(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.w.Write(p)
	s.err = err
	return n, err
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "nave",
		Short: "Define AI agents, signal them, and see where and why they run",
		Long: `nave talks to a Nave hub: it applies definitions, registers clusters, sends signals to sessions,
and shows sessions, their events, and the reasons of their placement.

The hub, its authority and the token are taken from a context, see "nave context".`,
		SilenceErrors:      true,
		DisableSuggestions: true, // they are of several lines, and rarely right
		SilenceUsage:       true,
	}
	f := root.PersistentFlags()
	f.StringVar(&a.context, "context", "", "name of the context to use (default: $NAVE_CONTEXT, then the current one)")
	f.StringVar(&a.organization, "organization", "", "organization (default: the context's)")
	f.StringVarP(&a.output, "output", "o", "", "output format; the commands say which they know")
	f.DurationVar(&a.timeout, "timeout", 0, "bound of one call (default 30s); with --wait, --watch or --follow: of the whole, without bound when not given")
	root.AddGroup(&cobra.Group{ID: "definitions", Title: "Definitions:"}, &cobra.Group{ID: "sessions", Title: "Sessions:"},
		&cobra.Group{ID: "fleet", Title: "Clusters and the hub:"})
	group := func(id string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = id
		}
		root.AddCommand(cmds...)
	}
	group("definitions", a.applyCommand(), a.getCommand(), a.deleteCommand(), a.diffCommand(), a.historyCommand(), a.rollbackCommand(), a.exportCommand())
	group("sessions", a.signalCommand(), a.sessionsCommand(), a.eventsCommand(), a.explainCommand(), a.waitCommand(),
		a.approvalsCommand(), a.approveCommand(), a.denyCommand(),
		a.cancelCommand(), a.pauseCommand(), a.resumeCommand(), a.terminateCommand(), a.signalsCommand(), a.replayCommand())
	group("fleet", a.statusCommand(), a.clustersCommand(), a.contextCommand(), a.versionCommand())
	root.AddCommand(exitCodesTopic())
	a.complete(root)
	return root
}

// do adapts a command's body. formats are the values of -o that it knows, the first being the default.
func (a *app) do(body func(ctx context.Context, args []string) error, formats ...string) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if a.output == "" && len(formats) > 0 {
			a.output = formats[0]
		}
		if a.output != "" && !slices.Contains(formats, a.output) {
			if len(formats) == 0 {
				return errors.New("-o is not used by this command: leave it out")
			}
			return errors.New("-o " + a.output + " is not known here: use " + strings.Join(formats, ", "))
		}
		if a.timeout < 0 {
			return errors.New("--timeout is negative: give a duration such as 30s")
		}
		a.started, a.command = true, cmd
		return body(cmd.Context(), args)
	}
}

// contexts loads the contexts file and says where it is.
func (a *app) contexts() (*client.Contexts, string, error) {
	path, err := client.DefaultContextsPath(a.env)
	if err != nil {
		return nil, "", err
	}
	cs, err := client.LoadContexts(path)
	return cs, path, err
}

// chosen is the name of the context that was asked for; empty means the current one.
func (a *app) chosen() string { return cmp.Or(a.context, a.env("NAVE_CONTEXT")) }

// connect makes a client for the chosen context. The caller closes it.
func (a *app) connect() (*client.Client, error) {
	cs, _, err := a.contexts()
	if err != nil {
		return nil, err
	}
	if a.hub, err = cs.Find(a.chosen()); err != nil {
		return nil, err
	}
	cfg := a.hub.Config()
	cfg.Attempts = a.attempts
	cfg.Timeout = min(a.timeout, time.Hour) // a longer one is meant for a whole wait
	if a.organization != "" {
		cfg.Organization = a.organization
	}
	return client.New(cfg)
}

// with runs f with a client.
func (a *app) with(f func(*client.Client) error) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	defer c.Close()
	return f(c)
}

// whole bounds a command that waits for events by --timeout, when that was given.
func (a *app) whole(ctx context.Context) (context.Context, context.CancelFunc) {
	if a.timeout > 0 {
		return context.WithTimeout(ctx, a.timeout)
	}
	return context.WithCancel(ctx)
}
