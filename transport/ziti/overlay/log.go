package main

import (
	"os"
	"sync"
)

// boundedLog is a file that is moved aside when it reaches its bound; one older file is kept. The process bounds its log
// itself, because the parent that would read a pipe may be gone. When the disk refuses, lines are dropped: a server must
// not stop because it cannot complain.
type boundedLog struct {
	path string
	max  int64

	mu   sync.Mutex
	f    *os.File // guarded by mu
	size int64    // guarded by mu
}

func openLog(path string, max int64) (*boundedLog, error) {
	l := &boundedLog{path: path, max: max}
	return l, l.open()
}

func (l *boundedLog) open() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return err
	}
	l.f, l.size = f, st.Size()
	return nil
}

// Write implements io.Writer. It reports success always, see boundedLog.
func (l *boundedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil && l.size > 0 && l.size+int64(len(p)) > l.max {
		_ = l.f.Close()
		l.f = nil
		_ = os.Rename(l.path, l.path+".1")
	}
	if l.f == nil && l.open() != nil {
		return len(p), nil
	}
	if int64(len(p)) > l.max {
		p = p[:l.max]
	}
	n, _ := l.f.Write(p)
	l.size += int64(n)
	return len(p), nil
}

// capFile empties a file that others append to when it is over max. It bounds what the libraries print to standard
// output and error, which the parent directs to a file opened for appending.
func capFile(f *os.File, max int64) {
	if st, err := f.Stat(); err == nil && st.Mode().IsRegular() && st.Size() > max {
		_ = f.Truncate(0)
	}
}
