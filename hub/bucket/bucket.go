package bucket

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/gcerrors"

	"github.com/nave-dev/nave/api"
)

// callTimeout bounds one call.
const callTimeout = 30 * time.Second

// Bucket implements hub.Bucket.
type Bucket struct {
	b    *blob.Bucket
	sync func(key string) error // makes an object survive a power failure
}

// OpenDirectory keeps objects as files below a directory, which is made with mode 0700 when missing. A file appears under
// its name only when it is complete.
func OpenDirectory(dir string) (*Bucket, error) {
	b, err := fileblob.OpenBucket(dir, &fileblob.Options{CreateDir: true, DirFileMode: 0o700, NoTempDir: true, Metadata: fileblob.MetadataDontWrite})
	if err != nil {
		return nil, fmt.Errorf("open bucket: %w", err)
	}
	return &Bucket{b, func(key string) error { return syncFile(filepath.Join(dir, filepath.FromSlash(key))) }}, nil
}

// Close ends the use of the bucket.
func (b *Bucket) Close() error { return b.b.Close() }

// Put implements hub.Bucket.
func (b *Bucket) Put(ctx context.Context, org api.OrgID, payload []byte) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	sum := sha256.Sum256(payload)
	key := "payloads/" + string(org) + "/" + hex.EncodeToString(sum[:])
	if exists, err := b.b.Exists(ctx, key); err == nil && exists {
		return key, nil
	}
	if err := b.b.WriteAll(ctx, key, payload, nil); err != nil {
		return "", &api.Error{Code: api.CodeUnavailable, Op: "put payload", Err: err}
	}
	if err := b.sync(key); err != nil {
		return "", &api.Error{Code: api.CodeUnavailable, Op: "put payload", Err: err}
	}
	return key, nil
}

// syncFile syncs a file and the directory that names it: the library renames without it.
func syncFile(path string) error {
	for _, p := range []string{path, filepath.Dir(path)} {
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// Fetch implements hub.Bucket.
func (b *Bucket) Fetch(ctx context.Context, key string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	payload, err := b.b.ReadAll(ctx, key)
	switch {
	case gcerrors.Code(err) == gcerrors.NotFound:
		return nil, &api.Error{Code: api.CodeNotFound, Op: "fetch payload", Err: err}
	case err != nil:
		return nil, &api.Error{Code: api.CodeUnavailable, Op: "fetch payload", Err: err}
	}
	sum := sha256.Sum256(payload)
	if !strings.HasSuffix(key, "/"+hex.EncodeToString(sum[:])) {
		return nil, &api.Error{Code: api.CodeInternal, Op: "fetch payload", Err: errors.New("object " + key + " does not have the content that its key names")}
	}
	return payload, nil
}
