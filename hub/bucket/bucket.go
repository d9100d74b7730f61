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

// Bucket implements hub.Bucket and hub.Vault. It is safe for concurrent use.
type Bucket struct {
	b     *blob.Bucket
	sync  func(key string) error // makes an object survive a power failure
	tidy  func(prefix string)    // is told that nothing lies under a prefix any more
	saves saves
}

// New keeps objects in a bucket of the library, which makes them durable by itself. The caller closes the Bucket, which
// closes b.
func New(b *blob.Bucket) *Bucket {
	return &Bucket{b: b, sync: func(string) error { return nil }, tidy: func(string) {}}
}

// OpenDirectory keeps objects as files below a directory, which is made with mode 0700 when missing. A file appears under
// its name only when it is complete.
func OpenDirectory(dir string) (*Bucket, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open bucket: %w", err)
	}
	b, err := fileblob.OpenBucket(dir, &fileblob.Options{CreateDir: true, DirFileMode: 0o700, NoTempDir: true, Metadata: fileblob.MetadataDontWrite})
	if err != nil {
		return nil, fmt.Errorf("open bucket: %w", err)
	}
	if err := syncPath(filepath.Dir(dir)); err != nil {
		return nil, fmt.Errorf("open bucket: %w", err)
	}
	return &Bucket{b: b, sync: func(key string) error { return syncFile(dir, key) }, tidy: func(prefix string) {
		_ = os.Remove(filepath.Join(dir, filepath.FromSlash(prefix))) // it stays when something came into it meanwhile
	}}, nil
}

// Close ends the use of the bucket.
func (b *Bucket) Close() error { return b.b.Close() }

// Put implements hub.Bucket.
func (b *Bucket) Put(ctx context.Context, org api.OrgID, payload []byte) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	sum := sha256.Sum256(payload)
	key := "payloads/" + string(org) + "/" + hex.EncodeToString(sum[:])
	// An object that is there may be one that a power failure left behind: only its content tells.
	if _, err := b.Fetch(ctx, key); err != nil {
		if err := b.b.WriteAll(ctx, key, payload, nil); err != nil {
			return "", failure("put payload", err)
		}
	}
	if err := b.sync(key); err != nil {
		return "", failure("put payload", err)
	}
	return key, nil
}

// syncFile syncs a file and the directories that name it, up to the bucket's: the library makes and renames without it.
func syncFile(dir, key string) error {
	path := filepath.Join(dir, filepath.FromSlash(key))
	for len(path) >= len(dir) {
		if err := syncPath(path); err != nil {
			return err
		}
		path = filepath.Dir(path)
	}
	return nil
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Fetch implements hub.Bucket.
func (b *Bucket) Fetch(ctx context.Context, key string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	payload, err := b.b.ReadAll(ctx, key)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil, &api.Error{Code: api.CodeNotFound, Op: "fetch payload", Err: err}
	}
	if err != nil {
		return nil, failure("fetch payload", err)
	}
	sum := sha256.Sum256(payload)
	if !strings.HasSuffix(key, "/"+hex.EncodeToString(sum[:])) {
		return nil, &api.Error{Code: api.CodeInternal, Op: "fetch payload", Err: errors.New("object " + key + " does not have the content that its key names")}
	}
	return payload, nil
}

// failure maps an error of the library. What may pass by itself is CodeUnavailable: the call may be repeated.
func failure(op string, err error) error {
	var own *api.Error
	if errors.As(err, &own) {
		return err
	}
	return &api.Error{Code: api.CodeUnavailable, Op: op, Err: fmt.Errorf("bucket: %w", err)}
}

// refuse makes an error of this package with its operation.
func refuse(op string, code api.Code, format string, args ...any) error {
	e := api.Errorf(code, format, args...)
	e.Op = op
	return e
}
