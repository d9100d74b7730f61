package bucket_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/bucket"
	"github.com/nave-dev/nave/hub/bucket/buckettest"
)

var (
	_ hub.Bucket = (*bucket.Bucket)(nil)
	_ hub.Vault  = (*bucket.Bucket)(nil)
)

func open(t *testing.T, dir string) *bucket.Bucket {
	t.Helper()
	b, err := bucket.OpenDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

type directory string

func (d directory) Open(t *testing.T) buckettest.Bucket { return open(t, string(d)) }

type memory struct{ b *blob.Bucket }

func (m memory) Open(*testing.T) buckettest.Bucket { return bucket.New(m.b) }

func TestDirectory(t *testing.T) {
	buckettest.Run(t, func(t *testing.T) buckettest.Place { return directory(filepath.Join(t.TempDir(), "bucket")) })
}

func TestMemory(t *testing.T) {
	buckettest.Run(t, func(t *testing.T) buckettest.Place {
		b := memblob.OpenBucket(nil)
		t.Cleanup(func() { _ = b.Close() })
		return memory{b}
	})
}

func TestPayloadThatIsNotWhatItWas(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	key, err := b.Put(t.Context(), "default", []byte("as it was"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, key), []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Fetch(t.Context(), key); api.CodeOf(err) != api.CodeInternal {
		t.Fatalf("Fetch of a changed object = %v, want CodeInternal", err)
	}
	if _, err := b.Put(t.Context(), "default", []byte("as it was")); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Fetch(t.Context(), key); err != nil || !bytes.Equal(got, []byte("as it was")) {
		t.Fatalf("Fetch after it was put again = %q, %v, want it mended", got, err)
	}
}
