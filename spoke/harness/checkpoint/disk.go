package checkpoint

import (
	"errors"
	"io"
	"os"
)

// disk is how the store changes its directory: every call is a point at which a crash may come, which is what the tests put
// another one in for.
type disk interface {
	// Create makes an empty file, in place of one that is there.
	Create(path string) (file, error)
	// Rename replaces what has the new name. It is durable after SyncDir.
	Rename(from, to string) error
	// Remove takes a file away. It is durable after SyncDir.
	Remove(path string) error
	// SyncDir makes names in a directory durable.
	SyncDir(path string) error
}

// file is written once from its start. What was written is durable after Sync.
type file interface {
	io.Writer
	Sync() error
	Close() error
}

// osDisk is the disk of the machine.
type osDisk struct{}

func (osDisk) Create(path string) (file, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
}

func (osDisk) Rename(from, to string) error { return os.Rename(from, to) }

func (osDisk) Remove(path string) error { return os.Remove(path) }

func (osDisk) SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
