package bucket

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
)

const (
	testOrg     = api.OrgID("acme")
	testSession = api.SessionID("01HZY0000000000000000000AA")
)

func directory(t *testing.T) (*Bucket, string) {
	t.Helper()
	dir := t.TempDir()
	b, err := OpenDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b, dir
}

// save saves a checkpoint of a manifest and a pack.
func save(ctx context.Context, b *Bucket, manifest string, pack io.Reader, size int64, hash [32]byte) (api.CheckpointID, error) {
	if pack == nil {
		pack = bytes.NewReader(nil)
	}
	sum := sha256.Sum256([]byte(manifest))
	id := api.CheckpointID(hex.EncodeToString(sum[:]))
	h := api.CheckpointHeader{Session: testSession, ID: id, Manifest: int64(len(manifest)), Pack: size, PackHash: hash}
	return id, b.SaveCheckpoint(ctx, testOrg, h, io.MultiReader(bytes.NewReader([]byte(manifest)), pack))
}

// TestSyncsBeforeRefs: when refs is written, everything that it speaks of was synced; and refs is synced in its turn.
func TestSyncsBeforeRefs(t *testing.T) {
	b, dir := directory(t)
	real, order := b.sync, []string{}
	b.sync = func(key string) error {
		name := path.Base(key)
		if _, err := os.Stat(filepath.Join(dir, path.Dir(key), refsName)); name != refsName && err == nil {
			t.Errorf("%s is synced when refs is there already", name)
		}
		order = append(order, name)
		return real(key)
	}
	if _, err := save(t.Context(), b, "m", bytes.NewReader([]byte("p")), 1, sha256.Sum256([]byte("p"))); err != nil {
		t.Fatal(err)
	}
	if want := []string{"manifest", "pack", "refs"}; !slices.Equal(order, want) {
		t.Errorf("synced %v, want %v", order, want)
	}
}

// TestStreamsPacks saves and fetches a pack that is much larger than what may be allocated meanwhile.
func TestStreamsPacks(t *testing.T) {
	const size, most = 64 << 20, 4 << 20
	b, _ := directory(t)
	pack := func() io.Reader { return io.LimitReader(counting{}, size) }
	sum := sha256.New()
	if _, err := io.Copy(sum, pack()); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	id, err := save(t.Context(), b, "large", pack(), size, [32]byte(sum.Sum(nil)))
	if err != nil {
		t.Fatal(err)
	}
	back := sha256.New()
	if err := b.FetchCheckpoint(t.Context(), testOrg, testSession, id, api.PartPack, 0, 0, back); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > most {
		t.Errorf("%d bytes were allocated for a pack of %d, want at most %d", got, size, most)
	}
	if !bytes.Equal(back.Sum(nil), sum.Sum(nil)) {
		t.Error("the pack is not what was saved")
	}
}

// counting reads as bytes that count up.
type counting struct{}

func (counting) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i)
	}
	return len(p), nil
}

// TestCollectsWhatWasAbandoned: the remains of a save whose process died are removed a day later, and not while another
// process may still be at it.
func TestCollectsWhatWasAbandoned(t *testing.T) {
	b, dir := directory(t)
	keep, err := save(t.Context(), b, "kept", nil, 0, [32]byte{})
	if err == nil {
		_, err = save(t.Context(), b, "half", bytes.NewReader(nil), 10, [32]byte{})
	}
	if api.CodeOf(err) != api.CodeInvalid {
		t.Fatalf("half a checkpoint = %v, want CodeInvalid", err)
	}
	half := sha256.Sum256([]byte("half"))
	lost := filepath.Join(dir, "checkpoints", string(testOrg), string(testSession), hex.EncodeToString(half[:]))
	remains := []string{filepath.Join(lost, "manifest"), filepath.Join(lost, "pack.18ea904894314361.tmp")}
	if err := os.WriteFile(remains[1], []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-25 * time.Hour)
	for step, want := range []int{0, 0, 2} { // young ones, one young one, old ones
		for _, file := range remains[:step] {
			if err := os.Chtimes(file, old, old); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := b.CollectCheckpoints(t.Context(), testOrg, testSession, []api.CheckpointID{keep}); n != want || err != nil {
			t.Fatalf("step %d removed %d, %v; want %d", step, n, err, want)
		}
	}
	if _, err := os.Stat(lost); !os.IsNotExist(err) {
		t.Errorf("the empty folder is still there: %v", err)
	}
	if has, err := b.HasCheckpoint(t.Context(), testOrg, testSession, keep); !has || err != nil {
		t.Errorf("the kept one is there: %t, %v", has, err)
	}
}
