package federation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/nave-dev/nave/hub/client"
)

// Programs are what a federation is made of, as `make build` leaves them in bin/.
var Programs = []string{"nave-hub", "nave-spoke", "nave-harness", "nave-overlay", "nave", "auditor", "scribe"}

// Config says where programs and data are.
type Config struct {
	Bin  string    // folder of the programs
	Dir  string    // folder of all data; short, since sockets are in it, and of this federation alone
	Show io.Writer // gets the commands and what they say; default nobody
}

// Federation is the running programs.
type Federation struct {
	cfg   Config
	procs []*Process // in the order of their start
}

// New returns a federation without programs.
func New(cfg Config) (*Federation, error) {
	for _, name := range Programs {
		if _, err := os.Stat(filepath.Join(cfg.Bin, name)); err != nil {
			return nil, fmt.Errorf("%s is not built: run `make build`", name)
		}
	}
	if !filepath.IsAbs(cfg.Dir) || !filepath.IsAbs(cfg.Bin) {
		return nil, fmt.Errorf("the folders %q and %q are to be absolute", cfg.Dir, cfg.Bin)
	}
	if cfg.Show == nil {
		cfg.Show = io.Discard
	}
	return &Federation{cfg: cfg}, nil
}

// Path is the path of something in the data folder.
func (f *Federation) Path(name ...string) string {
	return filepath.Join(append([]string{f.cfg.Dir}, name...)...)
}

// Bin is the path of a program.
func (f *Federation) Bin(program string) string { return filepath.Join(f.cfg.Bin, program) }

// Env is the environment of every program.
func (f *Federation) Env() []string {
	return append(os.Environ(), "NAVE_CONFIG="+f.Path("config.yaml"), "NO_COLOR=1")
}

// HubReady is in the line that a hub says when it serves.
const HubReady = "ready: API"

// StartHub starts the hub of the federation, anew or on the data that an earlier one left, and waits until it serves.
func (f *Federation) StartHub(ctx context.Context, args ...string) (*Process, error) {
	p, err := f.Start("hub", "nave-hub", f.HubArgs(args...)...)
	if err != nil {
		return nil, err
	}
	return p, p.Follow(ctx, HubReady, f.cfg.Show)
}

// HubArgs are the arguments of the federation's hub.
func (f *Federation) HubArgs(args ...string) []string {
	return append([]string{"dev", "--data-dir", f.Path("hub"), "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"}, args...)
}

// Join registers a cluster and keeps its join token where StartSpoke finds it.
func (f *Federation) Join(ctx context.Context, name string, labels ...string) error {
	args := []string{"clusters", "register", name}
	for _, l := range labels {
		args = append(args, "--label", l)
	}
	token, err := f.Nave(ctx, args...)
	if err != nil {
		return err
	}
	return os.WriteFile(f.Path(name+".token"), []byte(token), 0o600)
}

// StartSpoke starts the spoke of a cluster that has joined, or joins with it.
func (f *Federation) StartSpoke(name string, args ...string) (*Process, error) {
	return f.Start(name, "nave-spoke", append([]string{"run", "--data-dir", f.Path(name), "--join-token-file", f.Path(name + ".token")}, args...)...)
}

// Nave shows a command, runs it, shows what it says, and returns its standard output.
func (f *Federation) Nave(ctx context.Context, args ...string) (string, error) {
	fmt.Fprintf(f.cfg.Show, "$ nave %s\n", Quoted(args))
	out, err := f.Quiet(ctx, args...)
	if err != nil {
		return out, err
	}
	for _, line := range strings.Split(strings.TrimRight(out, "\n"), "\n") {
		if len(line) > 160 {
			line = line[:157] + "..."
		}
		fmt.Fprintln(f.cfg.Show, "  "+line)
	}
	return out, nil
}

// Quiet runs a nave command and returns its standard output.
func (f *Federation) Quiet(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, f.Bin("nave"), args...)
	var out, errs bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = f.Env(), &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("nave %s: %w\n%s", Quoted(args), err, errs.String())
	}
	return out.String(), nil
}

// Quoted renders arguments so that a shell would take them.
func Quoted(args []string) string {
	out := make([]string, len(args))
	for i, a := range args {
		if out[i] = a; strings.ContainsAny(a, " {}\"") {
			out[i] = "'" + a + "'"
		}
	}
	return strings.Join(out, " ")
}

// Client returns a client of the hub, by the current context. The caller closes it.
func (f *Federation) Client() (*client.Client, error) {
	contexts, err := client.LoadContexts(f.Path("config.yaml"))
	if err != nil {
		return nil, err
	}
	hub, err := contexts.Find("") // the current one: the file is this federation's own
	if err != nil {
		return nil, err
	}
	return client.New(hub.Config())
}

// look is how often a condition is looked at.
const look = 25 * time.Millisecond

// Await asks until the condition holds. It gives up with ctx; the error has the last answer.
func Await(ctx context.Context, what string, ok func() (bool, error)) error {
	for {
		good, err := ok()
		if good && err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w (last: %v)", what, context.Cause(ctx), err)
		case <-time.After(look):
		}
	}
}

// Await is [Await], and gives up when a program has ended that was not asked to.
func (f *Federation) Await(ctx context.Context, what string, ok func() (bool, error)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	return Await(ctx, what, func() (bool, error) {
		good, err := ok()
		for _, p := range f.procs {
			if p.Running() || p.asked {
				continue
			}
			cancel(fmt.Errorf("%s ended: %v\n%s", p.Name, p.err, p.Output()))
		}
		return good, err
	})
}

// endWithin is how long a program may take to end in order.
const endWithin = 40 * time.Second

// Stop ends the programs in the reverse order of their start and reports what would not end or was left behind.
func (f *Federation) Stop() error {
	var errs []error
	for i := len(f.procs) - 1; i >= 0; i-- {
		p := f.procs[i]
		ctx, cancel := context.WithTimeoutCause(context.Background(), endWithin, errors.New("does not end"))
		if err := p.End(ctx); err != nil && ctx.Err() != nil {
			errs = append(errs, err)
			p.Kill()
		}
		cancel()
	}
	f.procs = nil
	return errors.Join(append(errs, f.leftovers())...)
}

// leftovers ends and reports processes that should be gone. What is about to end gets a moment.
func (f *Federation) leftovers() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if Await(ctx, "nothing left", func() (bool, error) { return len(Naming(f.cfg.Dir)) == 0, nil }) == nil {
		return nil
	}
	var left []string
	for _, p := range Naming(f.cfg.Dir) {
		left = append(left, fmt.Sprintf("%d %s", p.ID, strings.Join(p.Args, " ")))
		p.Kill()
	}
	if len(left) > 0 {
		return fmt.Errorf("left behind, ended now:\n  %s", strings.Join(left, "\n  "))
	}
	return nil
}
