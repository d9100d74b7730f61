package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// ErrInUse says that another hub holds the directory.
var ErrInUse = errors.New("another hub is running on this directory")

// takeLease takes the directory's lease. The processes look at the lease by taking it for a moment, so one refusal means
// nothing; two seconds of them mean that somebody is there.
func takeLease(ctx context.Context, dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "hub.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lease: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Second, fmt.Errorf("%s: %w", dir, ErrInUse))
	defer cancel()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			_ = f.Close()
			return nil, fmt.Errorf("take lease: %w", err)
		}
		if !pause(ctx, 20*time.Millisecond) {
			_ = f.Close()
			return nil, context.Cause(ctx)
		}
	}
}

// held reports whether a process holds the exclusive lock on path.
func held(path string) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close() // lets go of the lock
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

// pause waits for d and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
