package harness

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// maxLog bounds the harness's own log; a full one begins anew.
const maxLog = 1 << 20

// Main is the whole program: it runs the workload that the file describes and returns the exit code. It leaves why it ended
// in the description's exit file and logs to log.
func Main(description, version string, log *os.File) int {
	// A harness hands one stream on, and a machine has many of them: with more processors each event is passed between threads,
	// and waking those costs most of what an event costs here.
	runtime.GOMAXPROCS(1)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	w, err := Load(description)
	if err != nil {
		fmt.Fprintln(log, err)
		return 2
	}
	exit, code := &harnessv1.Exit{Reason: "stopped"}, 0
	h, err := New(Config{Workload: w, Version: version, Log: slog.New(slog.NewTextHandler(&cappedLog{f: log}, nil))})
	if err != nil {
		err = &startError{api.StartFailureConfig, err}
	} else {
		err = h.Run(ctx)
	}
	if err != nil {
		fmt.Fprintln(log, err)
		exit, code = &harnessv1.Exit{Reason: err.Error(), Failure: string(FailureOf(err))}, 1
	}
	if err := (exitFile{path: w.ExitFile}).ended(exit); err != nil {
		fmt.Fprintln(log, err)
	}
	return code
}

// Load reads a workload's description.
func Load(path string) (*harnessv1.Workload, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the workload's description: %w", err)
	}
	w := new(harnessv1.Workload)
	// A newer spoke may write fields that this harness does not know.
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, w); err != nil {
		return nil, fmt.Errorf("decode the workload's description: %w", err)
	}
	return w, nil
}

// cappedLog keeps a log file below maxLog by emptying it.
type cappedLog struct {
	mu sync.Mutex
	f  *os.File
}

func (l *cappedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if fi, err := l.f.Stat(); err == nil && fi.Mode().IsRegular() && fi.Size()+int64(len(p)) > maxLog {
		if err := l.f.Truncate(0); err != nil {
			return 0, err
		}
	}
	return l.f.Write(p)
}
