package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/nave-dev/nave/api"
)

const tokenVariable = "NAVE_JOIN_TOKEN"

// options is what flags and environment say.
type options struct {
	DataDir       string
	JoinToken     string // empty when none was given; needed for the first start only
	joinTokenFile string
	ForceEnroll   bool // enroll anew, though the directory is enrolled
	flavors       []string
	Flavors       map[string]int // name to the number of workloads that may run at a time
	Harness       string         // path of the nave-harness program
	MetricsListen string         // host:port of /healthz, /readyz and /metrics
	Profiling     string         // loopback host:port of profiles; empty: none
	JournalMax    int64          // bytes
	TidyEvery     time.Duration  // how often the hub is asked which sessions are over whose state is kept
	logLevel      string
	Level         slog.Level

	platform
}

func (o *options) bind(f *pflag.FlagSet) {
	f.StringVar(&o.DataDir, "data-dir", "", "directory of the spoke's identity, journal and sessions (default: nave-spoke in the user's state directory)")
	f.StringVar(&o.JoinToken, "join-token", "", "join token of the cluster, for the first start; others of this machine can see it, prefer --join-token-file or "+tokenVariable)
	f.StringVar(&o.joinTokenFile, "join-token-file", "", "file that holds the join token")
	f.BoolVar(&o.ForceEnroll, "force-enroll", false, "enroll anew with a new join token, after \"nave clusters rejoin\": the former key is moved aside, the journal stays")
	f.StringArrayVar(&o.flavors, "flavor", nil, "flavor and how many workloads of it fit, name=count; repeat it for more (default "+api.DefaultFlavor+"=8)")
	f.StringVar(&o.Harness, "harness", "", "path of the nave-harness program (default: beside this program)")
	f.StringVar(&o.MetricsListen, "metrics-listen", "127.0.0.1:0", "address of /healthz, /readyz and /metrics; port 0 takes a free one, which the log names")
	f.StringVar(&o.Profiling, "profiling-listen", "", "loopback address of the spoke's own profiles, for go tool pprof (default: none)")
	f.Int64Var(&o.JournalMax, "journal-max-bytes", 1<<30, "size that the journal may grow to")
	f.DurationVar(&o.TidyEvery, "tidy-every", time.Minute, "how often the hub is asked which of the sessions whose state is kept here are over, 10ms to 24h; the state of those is removed")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	o.platform.bind(f)
}

// complete reads the environment, fills in the defaults and checks.
func (o *options) complete(env func(string) string) error {
	if err := o.completeToken(env); err != nil {
		return err
	}
	if o.DataDir == "" {
		dir, err := stateDir(env)
		if err != nil {
			return err
		}
		o.DataDir = filepath.Join(dir, "nave-spoke")
	}
	abs, err := filepath.Abs(o.DataDir)
	if err != nil {
		return err
	}
	o.DataDir = abs
	if err := o.platform.complete(); err != nil {
		return err
	}
	if err := o.completeProcesses(); err != nil {
		return err
	}
	if o.TidyEvery < 10*time.Millisecond || o.TidyEvery > 24*time.Hour {
		return api.Invalid("--tidy-every", "%v: want 10ms to 24h", o.TidyEvery)
	}
	if err := o.Level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return api.Invalid("--log-level", "%q: want debug, info, warn or error", o.logLevel)
	}
	return nil
}

// completeProcesses looks at what is said of local processes.
func (o *options) completeProcesses() (err error) {
	if o.Runtime != asProcesses {
		for _, flag := range []string{"harness", "flavor"} {
			if o.given(flag) {
				return api.Invalid("--"+flag, "says something of local processes, and sessions run as pods: the file of --kubernetes has it")
			}
		}
		return nil
	}
	if o.Harness == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this program: %w; name the harness with --harness", err)
		}
		o.Harness = filepath.Join(filepath.Dir(self), "nave-harness")
	}
	if info, err := os.Stat(o.Harness); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
		return api.Invalid("--harness", "%s is not a program: install nave-harness there or name another path", o.Harness)
	}
	if len(o.flavors) == 0 {
		o.flavors = []string{api.DefaultFlavor + "=8"}
	}
	o.Flavors, err = parseFlavors(o.flavors)
	return err
}

func (o *options) completeToken(env func(string) string) error {
	if o.JoinToken != "" && o.joinTokenFile != "" {
		return api.Invalid("--join-token", "is given and --join-token-file too: give one of them")
	}
	if o.joinTokenFile != "" {
		b, err := os.ReadFile(o.joinTokenFile)
		if errors.Is(err, fs.ErrNotExist) && !o.ForceEnroll {
			return nil // needed for the first start alone: a member goes on without it, and join tells who is none
		}
		if err != nil {
			return api.Invalid("--join-token-file", "%v", err)
		}
		if o.JoinToken = strings.TrimSpace(string(b)); o.JoinToken == "" {
			return api.Invalid("--join-token-file", "%s is empty: it is to hold the join token", o.joinTokenFile)
		}
	}
	if o.JoinToken == "" {
		o.JoinToken = env(tokenVariable)
	}
	o.JoinToken = strings.TrimSpace(o.JoinToken)
	if o.ForceEnroll && o.JoinToken == "" {
		return api.Invalid("--force-enroll", "needs a join token: run `nave clusters rejoin NAME` and give its token")
	}
	return nil
}

func stateDir(env func(string) string) (string, error) {
	if d := env("XDG_STATE_HOME"); filepath.IsAbs(d) { // the XDG base directory specification ignores relative ones
		return d, nil
	}
	home := env("HOME")
	if home == "" {
		return "", api.Invalid("--data-dir", "is not given and there is no home directory: give one")
	}
	return filepath.Join(home, ".local", "state"), nil
}

func parseFlavors(args []string) (map[string]int, error) {
	out := map[string]int{}
	for _, a := range args {
		name, count, _ := strings.Cut(a, "=")
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 || n > 10_000 {
			return nil, api.Invalid("--flavor", "%q: want name=count with a count of 1 to 10000", a)
		}
		if err := api.ValidateName("--flavor", name); err != nil {
			return nil, err
		}
		if _, twice := out[name]; twice {
			return nil, api.Invalid("--flavor", "%q is given twice", name)
		}
		out[name] = n
	}
	return out, nil
}
