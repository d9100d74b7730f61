package checkpoint

import (
	"io/fs"
	"syscall"
	"time"
)

// Where to go on from in a file with holes; see lseek(2).
const (
	seekData = 3
	seekHole = 4
)

// lookOf returns what of a file's look the portable part does not have.
func lookOf(info fs.FileInfo) (device, inode uint64, changed time.Time, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, time.Time{}, false
	}
	return st.Dev, st.Ino, time.Unix(st.Ctim.Unix()), true
}

// sparse tells whether a file may have holes: it has fewer blocks than bytes.
func sparse(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Blocks*512 < info.Size()
}
