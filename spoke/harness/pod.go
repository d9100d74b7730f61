package harness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// Times of asking for the description. A spoke that is away is asked for ever; one that says that there is no such workload, or
// that this is not its harness, is asked for a while more: one that was just started may not have heard of the pod yet.
const (
	describeLimit    = 40 * time.Second // of one call
	describePauseMin = 100 * time.Millisecond
	describePauseMax = 5 * time.Second
	refusalPatience  = 30 * time.Second
)

// Pod is the whole program of a pod: it asks the spoke that the environment names for what to run, runs it, and returns the exit
// code: 0 when it was stopped, 1 when it could not go on, 2 when the environment is wrong. It leaves why it ended in the file
// that the environment names, and logs to log.
func Pod(getenv func(string) string, version string, log *os.File) int {
	return pod(getenv, version, log, refusalPatience, cgroupFiles)
}

func pod(getenv func(string) string, version string, log *os.File, patience time.Duration, cgroup string) int {
	runtime.GOMAXPROCS(1) // as in Main
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	l := slog.New(slog.NewTextHandler(log, nil))
	exit := exitFile{path: getenv(harnessv1.EnvExit), inPlace: true}
	spoke, workload, err := fromEnvironment(getenv)
	if err != nil {
		err = &startError{api.StartFailureConfig, err}
		return leave(exit, &harnessv1.Exit{Reason: err.Error(), Failure: string(FailureOf(err))}, 2, l)
	}
	if err := seclude(); err != nil {
		return leave(exit, &harnessv1.Exit{Reason: err.Error(), Failure: string(api.StartFailureCrash)}, 1, l)
	}
	h, err := begin(ctx, Config{Spoke: spoke, InPod: true, Cgroup: cgroup, Version: version, Log: l}, workload, exit.path, patience)
	if err == nil && h != nil {
		err = h.Run(ctx)
	}
	e, code := &harnessv1.Exit{Reason: "stopped", Turn: h != nil && h.work.turned}, 0
	if err != nil {
		e.Reason, e.Failure, code = err.Error(), string(FailureOf(err)), 1
	}
	return leave(exit, e, code, l)
}

// leave says why the program ends and returns its exit code.
func leave(f exitFile, e *harnessv1.Exit, code int, log *slog.Logger) int {
	if code != 0 {
		log.Error("the harness ends", "err", e.Reason, "failure", e.Failure)
	}
	if err := f.ended(e); err != nil {
		log.Error("the exit file was not written", "err", err)
	}
	return code
}

// fromEnvironment reads where the spoke is, and the id of the workload.
func fromEnvironment(getenv func(string) string) (Spoke, string, error) {
	for _, name := range []string{harnessv1.EnvWorkload, harnessv1.EnvSpoke, harnessv1.EnvAuthority, harnessv1.EnvToken, harnessv1.EnvExit} {
		if getenv(name) == "" {
			return Spoke{}, "", api.Invalid(name, "is not set: a runtime that starts a harness in a pod sets it")
		}
	}
	s := Spoke{Address: getenv(harnessv1.EnvSpoke), Authority: []byte(getenv(harnessv1.EnvAuthority)), TokenFile: getenv(harnessv1.EnvToken)}
	names := map[string]string{"Spoke.Address": harnessv1.EnvSpoke, "Spoke.Authority": harnessv1.EnvAuthority, "Spoke.TokenFile": harnessv1.EnvToken}
	var wrong *api.Error
	if err := s.validate(); errors.As(err, &wrong) {
		return Spoke{}, "", &api.Error{Code: wrong.Code, Field: names[wrong.Field], Err: wrong.Err}
	} else if err != nil {
		return Spoke{}, "", err
	}
	return s, getenv(harnessv1.EnvWorkload), nil
}

// seclude hides the process from programs of the same user, which the agent's are: its memory and its environment. A program that
// it starts is as any other.
func seclude() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("hide the process from the agent: %w", err)
	}
	return nil
}

// begin makes a harness for what the spoke describes. It returns nil when ctx ended before.
func begin(ctx context.Context, c Config, workload, exit string, patience time.Duration) (*Harness, error) {
	w, err := describe(ctx, c.Spoke, workload, c.Log, patience)
	if ctx.Err() != nil {
		return nil, nil
	}
	if err != nil {
		return nil, &startError{api.StartFailureConfig, err}
	}
	h, err := described(c, w, workload, exit)
	if err != nil {
		return nil, &startError{api.StartFailureConfig, err}
	}
	for _, dir := range []string{w.State, w.Home, w.Workspace, w.Temp} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, &startError{api.StartFailureConfig, fmt.Errorf("make directory: %w", err)}
		}
	}
	return h, nil
}

// described makes a harness for a description that came from afar.
func described(c Config, w *harnessv1.Workload, workload, exit string) (*Harness, error) {
	if w.Id != workload {
		return nil, api.Invalid("Workload", "the spoke described another workload than %s", workload)
	}
	for _, dir := range []string{w.State, w.Home, w.Workspace, w.Temp} {
		if !filepath.IsAbs(dir) {
			return nil, api.Invalid("Workload", "%q: want absolute directories for state, home, workspace and temporary files", dir)
		}
	}
	w.ExitFile = exit
	c.Workload = w
	return New(c)
}

// describe asks the spoke what to run, until it says so, or has refused for as long as patience.
func describe(ctx context.Context, s Spoke, workload string, log *slog.Logger, patience time.Duration) (*harnessv1.Workload, error) {
	rng := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	var refused time.Time // since when; zero: it does not refuse
	for pause, said := describePauseMin, ""; ; pause = min(2*pause, describePauseMax) {
		w, err := s.describe(ctx, workload)
		switch {
		case err == nil:
			return w, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case !refusal(err):
			refused = time.Time{}
		case refused.IsZero():
			refused = time.Now()
		case time.Since(refused) >= patience:
			return nil, fromStatus("ask the spoke what to run", err)
		}
		if err.Error() != said { // a spoke may be away for days: say it once
			said = err.Error()
			log.Info("not described", "workload", workload, "err", err)
		}
		t := time.NewTimer(pause/2 + time.Duration(rng.Int64N(int64(pause))))
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// describe asks once, on a connection of its own: the spoke ends one on which it refused too often.
func (s *Spoke) describe(ctx context.Context, workload string) (*harnessv1.Workload, error) {
	cc, err := s.dial(workload)
	if err != nil {
		return nil, err
	}
	defer cc.Close()
	ctx, cancel := context.WithTimeout(ctx, describeLimit)
	defer cancel()
	return harnessv1.NewHarnessClient(cc).Describe(ctx, &harnessv1.DescribeRequest{Workload: workload})
}

// refusal tells an answer that asking again does not change, as a rule, from a spoke that is away.
func refusal(err error) bool {
	switch status.Code(err) {
	case codes.PermissionDenied, codes.NotFound, codes.Unauthenticated, codes.InvalidArgument, codes.Unimplemented, codes.FailedPrecondition:
		return true
	}
	return false
}

// takenAway reports that the platform ends the pod, and not the spoke. The platform says why, and the spoke reads it there: the harness
// leaves the last word of its log to the spoke, which has its own words too, from the exit file.
func (h *Harness) takenAway(stop context.Context) bool {
	return h.c.InPod && stop.Err() != nil && !h.in.look().Stop
}
