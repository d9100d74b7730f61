//go:build !linux

package checkpoint

import (
	"io/fs"
	"time"
)

const (
	seekData = 3
	seekHole = 4
)

// lookOf knows nothing here, so that every file is read at every take.
func lookOf(fs.FileInfo) (device, inode uint64, changed time.Time, ok bool) {
	return 0, 0, time.Time{}, false
}

func sparse(fs.FileInfo) bool { return false }
