package hub_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/internal/run"
)

// memoryVault keeps checkpoints in memory. Its hold lets a transfer wait inside of it.
type memoryVault struct {
	mu     sync.Mutex
	parts  map[string][]byte // guarded by mu; by organization, session, checkpoint and part
	kept   map[api.SessionID][]api.CheckpointID
	calls  int
	fail   int           // so many collections fail
	hold   chan struct{} // nil: nothing waits
	inside chan struct{} // gets a value per transfer that is inside
}

func newMemoryVault() *memoryVault {
	return &memoryVault{parts: map[string][]byte{}, kept: map[api.SessionID][]api.CheckpointID{}, inside: make(chan struct{}, 100)}
}

func vaultKey(org api.OrgID, s api.SessionID, id api.CheckpointID, part api.CheckpointPart) string {
	return strings.Join([]string{string(org), string(s), string(id), string(part)}, "/")
}

func (v *memoryVault) wait(ctx context.Context) error {
	v.inside <- struct{}{}
	v.mu.Lock()
	hold := v.hold
	v.mu.Unlock()
	if hold == nil {
		return nil
	}
	select {
	case <-hold:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (v *memoryVault) SaveCheckpoint(ctx context.Context, org api.OrgID, h api.CheckpointHeader, content io.Reader) error {
	if err := v.wait(ctx); err != nil {
		return err
	}
	b := make([]byte, h.Manifest+h.Pack)
	if _, err := io.ReadFull(content, b); err != nil {
		return err
	}
	parts := map[api.CheckpointPart][]byte{api.PartManifest: b[:h.Manifest], api.PartPack: b[h.Manifest:]}
	if sum := sha256.Sum256(parts[api.PartManifest]); hex.EncodeToString(sum[:]) != string(h.ID) || sha256.Sum256(parts[api.PartPack]) != h.PackHash {
		return api.Errorf(api.CodeInvalid, "the content is not what the header says")
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for part, b := range parts {
		v.parts[vaultKey(org, h.Session, h.ID, part)] = b
	}
	return nil
}

func (v *memoryVault) HasCheckpoint(_ context.Context, org api.OrgID, s api.SessionID, id api.CheckpointID) (bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.parts[vaultKey(org, s, id, api.PartManifest)] != nil, nil
}

func (v *memoryVault) FetchCheckpoint(ctx context.Context, org api.OrgID, s api.SessionID, id api.CheckpointID, part api.CheckpointPart, offset, length int64, w io.Writer) error {
	if err := v.wait(ctx); err != nil {
		return err
	}
	v.mu.Lock()
	b, ok := v.parts[vaultKey(org, s, id, part)]
	v.mu.Unlock()
	if !ok || offset > int64(len(b)) {
		return api.Errorf(api.CodeNotFound, "there is no such checkpoint")
	}
	if length == 0 {
		length = int64(len(b)) - offset
	}
	_, err := w.Write(b[offset:min(offset+length, int64(len(b)))])
	return err
}

func (v *memoryVault) CollectCheckpoints(_ context.Context, _ api.OrgID, s api.SessionID, keep []api.CheckpointID) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.calls++; v.calls <= v.fail {
		return 0, errors.New("the bucket is away")
	}
	v.kept[s] = keep
	return 1, nil
}

// checkpoint makes a small checkpoint of a session.
func checkpoint(id api.SessionID, src api.Source, text string) (api.CheckpointHeader, []byte) {
	manifest, pack := []byte("manifest of "+text), []byte("pack of "+text)
	sum := sha256.Sum256(manifest)
	return api.CheckpointHeader{Session: id, Source: src, ID: api.CheckpointID(hex.EncodeToString(sum[:])), Manifest: int64(len(manifest)), Pack: int64(len(pack)),
		PackHash: sha256.Sum256(pack)}, append(manifest, pack...)
}

// A spoke moves checkpoints of what is assigned to it, and of nothing else.
func TestCheckpointsOfAssignedSessionsOnly(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	w.cluster("gcp")
	vault, metrics := newMemoryVault(), prometheus.NewRegistry()
	b := w.start(func(c *hub.Config) { c.Vault, c.Metrics = vault, metrics })
	s := b.attach("aws", 4)
	a := b.accept("alice", "", "x")
	src := api.Source{Epoch: s.gets(a.Session, 1).Epoch, Attempt: 1}
	other := b.attach("gcp", 4)
	h, content := checkpoint(a.Session, src, "one")
	save := func(by *fakeSpoke, h api.CheckpointHeader) error {
		return by.a.SaveCheckpoint(t.Context(), h, bytes.NewReader(content))
	}
	fetch := func(by *fakeSpoke, src api.Source, id api.CheckpointID, part api.CheckpointPart, offset, length int64) (string, error) {
		var out bytes.Buffer
		err := by.a.FetchCheckpoint(t.Context(), a.Session, src, id, part, offset, length, &out)
		return out.String(), err
	}
	older, later := src, src
	later.Epoch = src.Epoch.Next(1)
	older.Epoch.N--
	for what, c := range map[string]struct {
		by   *fakeSpoke
		with func(*api.CheckpointHeader)
		code api.Code
	}{
		"the spoke of another cluster": {other, func(*api.CheckpointHeader) {}, api.CodeDenied},
		"another epoch":                {s, func(h *api.CheckpointHeader) { h.Source = later }, api.CodeDenied},
		"a former epoch":               {s, func(h *api.CheckpointHeader) { h.Source = older }, api.CodeDenied},
		"the hub's source":             {s, func(h *api.CheckpointHeader) { h.Source = api.Source{Epoch: src.Epoch} }, api.CodeDenied},
		"an unknown session":           {s, func(h *api.CheckpointHeader) { h.Session = api.SessionID(newULID()) }, api.CodeDenied},
		"no session":                   {s, func(h *api.CheckpointHeader) { h.Session = "x" }, api.CodeInvalid},
		"no id":                        {s, func(h *api.CheckpointHeader) { h.ID = "../../x" }, api.CodeInvalid},
		"packs that have no id":        {s, func(h *api.CheckpointHeader) { h.Packs = []api.CheckpointID{"../x"} }, api.CodeInvalid},
		"no manifest":                  {s, func(h *api.CheckpointHeader) { h.Manifest = 0 }, api.CodeInvalid},
		"a negative pack":              {s, func(h *api.CheckpointHeader) { h.Pack = -1 }, api.CodeInvalid},
		"a manifest that is too large": {s, func(h *api.CheckpointHeader) { h.Manifest = api.MaxManifestBytes + 1 }, api.CodeLimit},
		"a pack that is too large":     {s, func(h *api.CheckpointHeader) { h.Pack = api.MaxCheckpointBytes + 1 }, api.CodeLimit},
	} {
		changed := h
		c.with(&changed)
		if err := save(c.by, changed); api.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %s", what, err, c.code)
		}
	}
	if len(vault.parts) != 0 {
		t.Fatalf("what was refused is in the vault: %v", vault.parts)
	}
	must(t, save(s, h))
	for what, c := range map[string]struct {
		by     *fakeSpoke
		src    api.Source
		id     api.CheckpointID
		part   api.CheckpointPart
		offset int64
		code   api.Code
		want   string
	}{
		"the manifest":                 {s, src, h.ID, api.PartManifest, 0, "", "manifest of one"},
		"the end of the pack":          {s, src, h.ID, api.PartPack, 5, "", "of one"},
		"the spoke of another cluster": {other, src, h.ID, api.PartPack, 0, api.CodeDenied, ""},
		"a former epoch":               {s, older, h.ID, api.PartPack, 0, api.CodeDenied, ""},
		"no such checkpoint":           {s, src, api.CheckpointID(strings.Repeat("0", 64)), api.PartPack, 0, api.CodeNotFound, ""},
		"no id":                        {s, src, "../x", api.PartPack, 0, api.CodeInvalid, ""},
		"no such part":                 {s, src, h.ID, "refs", 0, api.CodeInvalid, ""},
		"before the beginning":         {s, src, h.ID, api.PartPack, -1, api.CodeInvalid, ""},
	} {
		if got, err := fetch(c.by, c.src, c.id, c.part, c.offset, 0); api.CodeOf(err) != c.code || got != c.want {
			t.Errorf("%s: %q, %v, want %q and %q", what, got, err, c.want, c.code)
		}
	}
	if got, err := fetch(s, src, h.ID, api.PartPack, 1, 3); err != nil || got != "ack" {
		t.Errorf("three bytes: %q, %v", got, err)
	}
	if n, want := count(t, metrics, "nave_hub_checkpoint_bytes_total", "save"), float64(len(content)); n != want {
		t.Errorf("%v bytes saved, want %v", n, want)
	}
	if n, want := count(t, metrics, "nave_hub_checkpoint_bytes_total", "fetch"), float64(len("manifest of one")+len("of one")+3); n != want {
		t.Errorf("%v bytes fetched, want %v", n, want)
	}
}

// Only so many transfers are under way on a link, and they end with it.
func TestTransfersAreBoundedAndEndWithTheLink(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	vault := newMemoryVault()
	vault.hold = make(chan struct{})
	b := w.start(func(c *hub.Config) { c.Vault = vault })
	s := b.attach("aws", 4)
	a := b.accept("alice", "", "x")
	h, content := checkpoint(a.Session, api.Source{Epoch: s.gets(a.Session, 1).Epoch, Attempt: 1}, "one")
	tasks, ended := run.NewGroup(t.Context()), make(chan error, 100)
	save := func() {
		tasks.Go("save", func(ctx context.Context) error {
			ended <- s.a.SaveCheckpoint(ctx, h, bytes.NewReader(content))
			return nil
		})
	}
	for range hub.TransfersPerLink {
		save()
	}
	for range hub.TransfersPerLink {
		<-vault.inside
	}
	began := time.Now()
	err := s.a.SaveCheckpoint(t.Context(), h, bytes.NewReader(content))
	if d := time.Since(began); api.CodeOf(err) != api.CodeLimit || d < time.Second || d > 30*time.Second {
		t.Errorf("one more: %v after %v", err, d)
	}
	vault.hold <- struct{}{} // one ends: there is a place
	must(t, <-ended)
	save()
	<-vault.inside
	s.a.Close(api.Errorf(api.CodeUnavailable, "the link was cut"))
	for range hub.TransfersPerLink {
		if err := <-ended; api.CodeOf(err) != api.CodeUnavailable || !strings.Contains(err.Error(), "the link was cut") {
			t.Errorf("a transfer ended with %v", err)
		}
	}
	must(t, tasks.Wait())
}

// The latest word of a session counts, and a bucket that is away is asked again.
func TestCheckpointsAreCollected(t *testing.T) {
	w := newBrains(t)
	vault := newMemoryVault()
	vault.fail = 2
	b := w.start(func(c *hub.Config) { c.Vault = vault })
	keep := func(ids ...api.CheckpointID) []api.CheckpointID { return ids }
	b.Collect(api.DefaultOrg, "one", keep("a"))
	b.Collect(api.DefaultOrg, "two", keep("x"))
	b.Collect(api.DefaultOrg, "one", keep("a", "b"))
	b.Collect(api.DefaultOrg, "one", keep("b", "c"))
	eventually(t, "collected", func() string {
		vault.mu.Lock()
		defer vault.mu.Unlock()
		if !slices.Equal(vault.kept["one"], keep("b", "c")) || !slices.Equal(vault.kept["two"], keep("x")) {
			return fmt.Sprintf("kept are %v", vault.kept)
		}
		return ""
	})
	b.Collect(api.DefaultOrg, "one", nil)
	eventually(t, "collected to the end", func() string {
		vault.mu.Lock()
		defer vault.mu.Unlock()
		if kept, ok := vault.kept["one"]; !ok || len(kept) != 0 {
			return "something is kept"
		}
		return ""
	})
}
