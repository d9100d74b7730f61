package journal

import (
	"errors"
	"os"
	"syscall"
)

// syncData syncs what was written into allocated room: the size does not change, so that its metadata need not be written.
func syncData(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// allocate gives the file its size and its blocks, so that appending cannot run out of space.
func allocate(f *os.File, size int64) error {
	for {
		err := syscall.Fallocate(int(f.Fd()), 0, 0, size)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
			return f.Truncate(size) // a file system that cannot: appending may then fail, and that is noticed
		}
		return err
	}
}
