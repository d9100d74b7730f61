package bucket_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/bucket"
)

var _ hub.Bucket = (*bucket.Bucket)(nil)

func open(t *testing.T, dir string) *bucket.Bucket {
	t.Helper()
	b, err := bucket.OpenDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func TestPayloadsComeBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	payload := bytes.Repeat([]byte("nave"), 100_000)
	key, err := open(t, dir).Put(t.Context(), "default", payload)
	if err != nil {
		t.Fatal(err)
	}
	b := open(t, dir) // another process
	if again, err := b.Put(t.Context(), "default", payload); err != nil || again != key {
		t.Fatalf("the same payload again = %q, %v, want %q", again, err, key)
	}
	if got, err := b.Fetch(t.Context(), key); err != nil || !bytes.Equal(got, payload) {
		t.Fatalf("Fetch = %d bytes, %v, want the payload", len(got), err)
	}
	if other, err := b.Put(t.Context(), "other", payload); err != nil || other == key {
		t.Fatalf("another organization's payload = %q, %v, want a key of its own", other, err)
	}
}

func TestWhatIsNotThereOrNotWhatItWas(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	if _, err := b.Fetch(t.Context(), "payloads/default/00"); api.CodeOf(err) != api.CodeNotFound {
		t.Fatalf("Fetch of nothing = %v, want CodeNotFound", err)
	}
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
}
