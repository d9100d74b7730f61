package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// pollEvery is how often the lease is looked at.
const pollEvery = time.Second

// errNoParent is why a process ends that nobody asked to end.
var errNoParent = errors.New("no hub holds the lease")

// runLock is held for the life of the process and tells the parent that, and as which process, it lives.
func runLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	// The parent looks by trying to take the lock for a moment, so one refusal means nothing.
	for try := 0; ; try++ {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if try == 20 {
			_ = f.Close()
			return nil, fmt.Errorf("%s is held by another process: %w", path, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := f.Truncate(0); err != nil {
		return nil, err
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		return nil, err
	}
	return f, nil
}

// watchLease returns errNoParent when nobody held the lease for the grace. each is called at every poll.
func watchLease(ctx context.Context, path string, grace time.Duration, each func()) error {
	every := min(pollEvery, grace)
	tick := time.NewTicker(every)
	defer tick.Stop()
	var missed time.Duration
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		each()
		if held(path) {
			missed = 0
		} else if missed += every; missed >= grace {
			return errNoParent
		}
	}
}

// held reports whether somebody holds an exclusive flock on path. Doubt counts as held: an overlay that lives too long
// does less harm than one that leaves.
func held(path string) bool {
	f, err := os.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	defer f.Close()
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	return err != nil // closing the file lets go of the lock
}
