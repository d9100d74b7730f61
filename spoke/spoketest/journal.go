package spoketest

import (
	"slices"
	"sync"
)

// Journal keeps records in memory: what it holds is what would be on disk. The zero value is ready.
type Journal struct {
	mu      sync.Mutex
	records [][]byte
	size    int64
	failing error
}

// Fail makes Append and Compact fail until it is called with nil.
func (j *Journal) Fail(err error) { j.mu.Lock(); defer j.mu.Unlock(); j.failing = err }

// Append implements [spoke.Journal].
func (j *Journal) Append(records [][]byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failing != nil {
		return j.failing
	}
	for _, r := range records {
		j.records = append(j.records, slices.Clone(r))
		j.size += int64(len(r))
	}
	return nil
}

// Replay implements [spoke.Journal].
func (j *Journal) Replay(f func(record []byte) error) error {
	j.mu.Lock()
	records := slices.Clone(j.records)
	j.mu.Unlock()
	for _, r := range records {
		if err := f(r); err != nil {
			return err
		}
	}
	return nil
}

// Compact implements [spoke.Journal].
func (j *Journal) Compact(records [][]byte) error {
	j.mu.Lock()
	if j.failing != nil {
		defer j.mu.Unlock()
		return j.failing
	}
	j.records, j.size = nil, 0
	j.mu.Unlock()
	return j.Append(records)
}

// Size implements [spoke.Journal].
func (j *Journal) Size() int64 { j.mu.Lock(); defer j.mu.Unlock(); return j.size }

// ID implements [spoke.Journal].
func (j *Journal) ID() string { return "journal" }
