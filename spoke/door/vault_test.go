package door_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke/door"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// vault keeps checkpoints in memory.
type vault struct {
	mu      sync.Mutex
	headers []api.CheckpointHeader
	content map[api.CheckpointID][]byte // manifest and pack
	fail    error
	began   chan string   // gets the id of each save that begins, when it is not nil
	hold    chan struct{} // each save takes a token before it reads, when began is not nil

	under, most atomic.Int32
}

func (v *vault) SaveCheckpoint(ctx context.Context, h api.CheckpointHeader, content io.Reader) error {
	n := v.under.Add(1)
	defer v.under.Add(-1)
	for old := v.most.Load(); n > old && !v.most.CompareAndSwap(old, n); old = v.most.Load() {
	}
	if v.began != nil {
		v.began <- string(h.ID)
		select {
		case <-v.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b, err := io.ReadAll(content)
	if err != nil {
		return fmt.Errorf("read the content: %w", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.fail == nil {
		v.headers, v.content[h.ID] = append(v.headers, h), b
	}
	return v.fail
}

func (v *vault) FetchCheckpoint(_ context.Context, session api.SessionID, source api.Source, cp api.CheckpointID, part api.CheckpointPart, offset, length int64, w io.Writer) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	b, ok := v.content[cp]
	switch {
	case v.fail != nil:
		return v.fail
	case !ok || session != id.Session || source != id.Source():
		return api.Errorf(api.CodeNotFound, "no checkpoint %s", cp)
	}
	m := v.headers[0].Manifest
	if part == api.PartPack {
		b = b[m:]
	} else {
		b = b[:m]
	}
	b = b[offset:]
	if length > 0 {
		b = b[:length]
	}
	_, err := w.Write(b)
	return err
}

func openVault(t *testing.T, v *vault) (*door.Door, harnessv1.HarnessClient, string) {
	t.Helper()
	socket := ""
	v.content = make(map[api.CheckpointID][]byte)
	d, c := open(t, &handler{}, func(c *door.Config) { c.Vault, socket = v, c.Socket })
	return d, c, socket
}

func header(seed string, manifest, pack int64) *harnessv1.CheckpointHeader {
	return &harnessv1.CheckpointHeader{
		Workload: id.String(), Id: fmt.Sprintf("%x", sha256.Sum256([]byte(seed))), ManifestBytes: manifest, PackBytes: pack,
		PackHash: bytes.Repeat([]byte{7}, 32), Packs: []string{strings.Repeat("ab", 32)},
	}
}

// save sends a header and the parts and returns how it ended.
func save(t *testing.T, c harnessv1.HarnessClient, h *harnessv1.CheckpointHeader, parts ...[]byte) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := c.Save(ctx)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Send(&harnessv1.SaveRequest{Header: h})
	for _, p := range parts {
		if err == nil {
			err = s.Send(&harnessv1.SaveRequest{Data: p})
		}
	}
	_, err = s.CloseAndRecv() // says why when a send did not go
	return err
}

func fetch(t *testing.T, c harnessv1.HarnessClient, r *harnessv1.FetchRequest) ([]byte, error) {
	t.Helper()
	s, err := c.Fetch(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for {
		m, err := s.Recv()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		if len(m.Data) > 256<<10 {
			t.Errorf("a message with %d bytes", len(m.Data))
		}
		all = append(all, m.Data...)
	}
}

func TestCheckpointsGoBothWays(t *testing.T) {
	v := &vault{}
	_, c, _ := openVault(t, v)
	attach(t, c, hello()).welcome()
	manifest, pack := bytes.Repeat([]byte("manifest"), 1000), bytes.Repeat([]byte("the pack "), 200_000)
	h := header("one", int64(len(manifest)), int64(len(pack)))
	if err := save(t, c, h, manifest, pack[:1<<20], pack[1<<20:]); err != nil {
		t.Fatal(err)
	}
	want := api.CheckpointHeader{
		Session: id.Session, Source: id.Source(), ID: api.CheckpointID(h.Id), Manifest: h.ManifestBytes, Pack: h.PackBytes,
		PackHash: [32]byte(h.PackHash), Packs: []api.CheckpointID{api.CheckpointID(h.Packs[0])},
	}
	if diff := cmp.Diff([]api.CheckpointHeader{want}, v.headers); diff != "" {
		t.Errorf("headers (-want +got)\n%s", diff)
	}
	if !bytes.Equal(v.content[want.ID], append(manifest, pack...)) {
		t.Error("the content came otherwise")
	}
	r := &harnessv1.FetchRequest{Workload: id.String(), Checkpoint: h.Id, Part: "pack"}
	if got, err := fetch(t, c, r); err != nil || !bytes.Equal(got, pack) {
		t.Errorf("the whole pack: %d bytes, %v", len(got), err)
	}
	r.Offset, r.Length = 9, 300_000
	if got, err := fetch(t, c, r); err != nil || !bytes.Equal(got, pack[9:300_009]) {
		t.Errorf("a part of the pack: %d bytes, %v", len(got), err)
	}
	if got, err := fetch(t, c, &harnessv1.FetchRequest{Workload: id.String(), Checkpoint: h.Id, Part: "manifest"}); err != nil || !bytes.Equal(got, manifest) {
		t.Errorf("the manifest: %d bytes, %v", len(got), err)
	}
}

func TestTransfersThatAreRefused(t *testing.T) {
	v := &vault{}
	_, c, _ := openVault(t, v)
	one := []byte("x")
	if err := save(t, c, header("early", 1, 0), one); status.Code(err) != codes.Unavailable {
		t.Errorf("a save before the harness is attached: %v", err)
	}
	if _, err := fetch(t, c, &harnessv1.FetchRequest{Workload: id.String(), Checkpoint: header("early", 1, 0).Id, Part: "pack"}); status.Code(err) != codes.Unavailable {
		t.Errorf("a fetch before the harness is attached: %v", err)
	}
	attach(t, c, hello()).welcome()
	with := func(change func(*harnessv1.CheckpointHeader)) *harnessv1.CheckpointHeader {
		h := header("bad", 1, 1)
		change(h)
		return h
	}
	other := strings.Replace(id.String(), "-1", "-2", 1)
	for _, tt := range []struct {
		name  string
		h     *harnessv1.CheckpointHeader
		parts [][]byte
		want  codes.Code
	}{
		{"no header", nil, [][]byte{one}, codes.InvalidArgument},
		{"another's workload", with(func(h *harnessv1.CheckpointHeader) { h.Workload = other }), [][]byte{one, one}, codes.PermissionDenied},
		{"no id", with(func(h *harnessv1.CheckpointHeader) { h.Id = "x" }), [][]byte{one, one}, codes.InvalidArgument},
		{"no manifest", with(func(h *harnessv1.CheckpointHeader) { h.ManifestBytes = 0 }), [][]byte{one}, codes.InvalidArgument},
		{"a huge manifest", with(func(h *harnessv1.CheckpointHeader) { h.ManifestBytes = api.MaxManifestBytes + 1 }), [][]byte{one}, codes.InvalidArgument},
		{"a huge pack", with(func(h *harnessv1.CheckpointHeader) { h.PackBytes = api.MaxCheckpointBytes + 1 }), [][]byte{one}, codes.InvalidArgument},
		{"a negative pack", with(func(h *harnessv1.CheckpointHeader) { h.PackBytes = -1 }), [][]byte{one}, codes.InvalidArgument},
		{"half a hash", with(func(h *harnessv1.CheckpointHeader) { h.PackHash = h.PackHash[:16] }), [][]byte{one, one}, codes.InvalidArgument},
		{"a pack without id", with(func(h *harnessv1.CheckpointHeader) { h.Packs = []string{"../x"} }), [][]byte{one, one}, codes.InvalidArgument},
		{"too short", header("bad", 1, 1), [][]byte{one}, codes.InvalidArgument},
		{"too long", header("bad", 1, 1), [][]byte{one, one, one}, codes.InvalidArgument},
		{"a message too long", header("bad", 1, 1), [][]byte{[]byte("xxx")}, codes.InvalidArgument},
		{"an empty message", header("bad", 1, 1), [][]byte{one, nil, one}, codes.InvalidArgument},
	} {
		if err := save(t, c, tt.h, tt.parts...); status.Code(err) != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	for _, r := range []*harnessv1.FetchRequest{
		{Checkpoint: "x", Part: "pack"}, {Checkpoint: header("bad", 1, 1).Id, Part: "packs"},
		{Checkpoint: header("bad", 1, 1).Id, Part: "pack", Offset: -1}, {Checkpoint: header("bad", 1, 1).Id, Part: "pack", Length: -1},
	} {
		r.Workload = id.String()
		if _, err := fetch(t, c, r); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: %v", r, err)
		}
	}
	if _, err := fetch(t, c, &harnessv1.FetchRequest{Workload: other, Checkpoint: header("bad", 1, 1).Id, Part: "pack"}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("another's checkpoint: %v", err)
	}
}

func TestErrorsOfTheVault(t *testing.T) {
	v := &vault{}
	_, c, _ := openVault(t, v)
	attach(t, c, hello()).welcome()
	for code, want := range map[api.Code]codes.Code{
		api.CodeInvalid: codes.InvalidArgument, api.CodeNotFound: codes.NotFound, api.CodeDenied: codes.PermissionDenied, api.CodeLimit: codes.ResourceExhausted,
		api.CodeUnavailable: codes.Unavailable, api.CodeFailed: codes.FailedPrecondition, api.CodeUnsupported: codes.Unimplemented, api.CodeInternal: codes.Internal,
	} {
		v.fail = fmt.Errorf("over the link: %w", api.Errorf(code, "because"))
		if err := save(t, c, header("x", 1, 0), []byte("x")); status.Code(err) != want || !strings.Contains(err.Error(), "because") {
			t.Errorf("save with %s: %v, want %v", code, err, want)
		}
		if _, err := fetch(t, c, &harnessv1.FetchRequest{Workload: id.String(), Checkpoint: header("x", 1, 0).Id, Part: "pack"}); status.Code(err) != want {
			t.Errorf("fetch with %s: %v, want %v", code, err, want)
		}
	}
	_, none := open(t, &handler{}, nil)
	attach(t, none, hello()).welcome()
	if err := save(t, none, header("x", 1, 0), []byte("x")); status.Code(err) != codes.Unavailable {
		t.Errorf("without a vault: %v", err)
	}
}

// Four transfers are under way at a time; the others wait, and come when there is room.
func TestFourTransfersAtATime(t *testing.T) {
	v := &vault{began: make(chan string, 20), hold: make(chan struct{})}
	d, c, socket := openVault(t, v)
	attach(t, c, hello()).welcome()
	g := run.NewGroup(t.Context())
	for n := range 8 {
		g.Go("save", func(ctx context.Context) error {
			cc, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				return err
			}
			defer cc.Close()
			return save(t, harnessv1.NewHarnessClient(cc), header(fmt.Sprint(n), 1, 0), []byte("x"))
		})
	}
	next := func() {
		t.Helper()
		select {
		case <-v.began:
		case <-time.After(20 * time.Second):
			t.Fatal("no transfer begins")
		}
	}
	for range 4 {
		next()
	}
	deadline := time.Now().Add(20 * time.Second)
	for d.Waiting() != 4 {
		if time.Now().After(deadline) {
			t.Fatalf("%d transfers wait, want 4", d.Waiting())
		}
		runtime.Gosched()
	}
	for range 4 {
		v.hold <- struct{}{}
		next()
	}
	close(v.hold)
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if most := v.most.Load(); most != 4 {
		t.Errorf("%d transfers were under way at a time", most)
	}
}
