package testcluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// idLength is short because an interface has a name of at most 15 bytes. 27 million ids are enough: a folder that exists is
// not taken twice.
const (
	idLength  = 5
	idLetters = "abcdefghijklmnopqrstuvwxyz2345"
	lockLook  = 50 * time.Millisecond
)

// newID makes a run id: letters first, so that it is a name everywhere.
func newID() string {
	b := make([]byte, idLength)
	_, _ = rand.Read(b) // never fails
	for i := range b {
		b[i] = idLetters[int(b[i])%len(idLetters)]
	}
	if b[0] >= '2' && b[0] <= '5' {
		b[0] = 'q'
	}
	return string(b)
}

// lock takes an exclusive lock on a file, which it makes. It is held until the file is closed, or its process ends.
func lock(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(lockLook)
	defer tick.Stop()
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			break
		}
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		break
	}
	_ = f.Close()
	return nil, fmt.Errorf("lock %s: %w", path, err)
}

// tryLock is lock that does not wait: nil when another holds it.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, nil
		}
		return nil, err
	}
	return f, nil
}

// claim makes the folder of a new bed and takes its ownership, which lasts until the file is closed. The caller holds the lock
// of the root: nobody sweeps meanwhile.
func claim(root string) (id string, owned *os.File, err error) {
	for range 100 {
		id = newID()
		err = os.Mkdir(filepath.Join(root, id), 0o755)
		if err == nil {
			owned, err = tryLock(filepath.Join(root, id, lockFile))
			if err == nil && owned == nil {
				err = errors.New("a new folder is locked by another")
			}
			return id, owned, err
		}
		if !errors.Is(err, os.ErrExist) {
			break
		}
	}
	return "", nil, fmt.Errorf("make a folder for the bed: %w", err)
}

const lockFile = "lock"

// openRoot makes the root, if need be, and sees that it belongs to this user.
func openRoot(root string) error {
	if err := os.Mkdir(root, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	info, err := os.Lstat(root)
	if err != nil {
		return err
	}
	if s, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || !ok || int(s.Uid) != os.Getuid() {
		return fmt.Errorf("%s is not a folder of this user", root)
	}
	return nil
}
