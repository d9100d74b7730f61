package linktest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/transport/linkv1"
)

// checkpoint makes one of the given sizes, whose bytes differ everywhere.
func checkpoint(manifest, pack int) (api.CheckpointHeader, []byte) {
	b := make([]byte, manifest+pack)
	for i := range b {
		b[i] = byte(i * 31 >> 3)
	}
	id := sha256.Sum256(b[:manifest])
	return api.CheckpointHeader{Session: "s", Source: api.Source{Epoch: api.Epoch{Incarnation: 1, N: 2}, Attempt: 3}, ID: api.CheckpointID(hex.EncodeToString(id[:])),
		Manifest: int64(manifest), Pack: int64(pack), PackHash: sha256.Sum256(b[manifest:]), Packs: []api.CheckpointID{api.CheckpointID(strings.Repeat("ab", 32))}}, b
}

// linked makes a spoke that is connected to the hub.
func linked(t *testing.T, n Network, h *hub) (*spoke, *attachment) {
	t.Helper()
	serve(t, n, h)
	s := newSpoke(t, n).dial()
	a := h.link()
	next(t, "welcome", s.welcome)
	return s, a
}

func testSave(t *testing.T, n Network) {
	var header api.CheckpointHeader
	var got []byte
	s, _ := linked(t, n, &hub{save: func(_ context.Context, h api.CheckpointHeader, r io.Reader) (err error) {
		header = h
		got, err = io.ReadAll(r)
		return err
	}})
	for _, pack := range []int{0, 1, 3<<20 + 7} {
		want, content := checkpoint(100, pack)
		got = nil
		must(t, "save", s.link.SaveCheckpoint(t.Context(), want, bytes.NewReader(content)))
		if d := cmp.Diff(want, header); d != "" {
			t.Errorf("header (-want +got):\n%s", d)
		}
		if !bytes.Equal(got, content) {
			t.Errorf("%d bytes arrived, not the %d that were sent", len(got), len(content))
		}
	}
	for _, tt := range []struct {
		what string
		more int
		code api.Code
	}{{"short", -1, api.CodeInvalid}, {"long", 1, api.CodeInvalid}} {
		want, content := checkpoint(100, 1<<20)
		content = append(content, 1)[:len(content)+tt.more]
		if err := s.link.SaveCheckpoint(t.Context(), want, bytes.NewReader(content)); api.CodeOf(err) != tt.code {
			t.Errorf("content that is too %s: %v", tt.what, err)
		}
	}
	want, _ := checkpoint(100, 1<<20)
	boom := errors.New("boom")
	if err := s.link.SaveCheckpoint(t.Context(), want, io.MultiReader(strings.NewReader("beginning"), broken{boom})); !errors.Is(err, boom) {
		t.Errorf("content that cannot be read: %v", err)
	}
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

func testSaveRefused(t *testing.T, n Network) {
	s, _ := linked(t, n, &hub{save: func(context.Context, api.CheckpointHeader, io.Reader) error {
		return api.Errorf(api.CodeConflict, "epoch 7 is over") // without reading
	}})
	header, content := checkpoint(100, 8<<20)
	if err := s.link.SaveCheckpoint(t.Context(), header, bytes.NewReader(content)); api.CodeOf(err) != api.CodeConflict || !strings.Contains(err.Error(), "epoch 7 is over") {
		t.Errorf("refused with %v", err)
	}
	bad := header
	bad.ID = "../x"
	if err := s.link.SaveCheckpoint(t.Context(), bad, bytes.NewReader(content)); api.CodeOf(err) != api.CodeInvalid {
		t.Errorf("a bad id: %v", err)
	}
}

// testSaveCutOff: a transfer ends with its link, its caller, and not before.
func testSaveCutOff(t *testing.T, n Network) {
	began, over := make(chan struct{}, 9), make(chan error, 9)
	h := &hub{save: func(ctx context.Context, _ api.CheckpointHeader, r io.Reader) error {
		began <- struct{}{}
		<-ctx.Done()
		over <- context.Cause(ctx)
		return context.Cause(ctx)
	}}
	s, a := linked(t, n, h)
	header, content := checkpoint(100, 8<<20)
	cutOff(t, a, began, over, func(ctx context.Context) error { return s.link.SaveCheckpoint(ctx, header, bytes.NewReader(content)) })
	next(t, "the end", s.ends)
	h.link()
	next(t, "welcome", s.welcome)
	h.save = func(context.Context, api.CheckpointHeader, io.Reader) error { return nil }
	must(t, "save again", s.link.SaveCheckpoint(t.Context(), header, bytes.NewReader(content)))
	if err := newSpoke(t, n).link.SaveCheckpoint(t.Context(), header, bytes.NewReader(content)); api.CodeOf(err) != api.CodeUnavailable {
		t.Errorf("without a link: %v", err)
	}
}

// cutOff checks that a call which the hub does not answer ends with its caller, and then that it ends with its link. began and
// over tell of the hub's part of it.
func cutOff(t *testing.T, a *attachment, began <-chan struct{}, over <-chan error, call func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, tt := range []struct {
		what string
		end  func()
		ok   func(error) bool
	}{
		{"the caller's end", cancel, func(err error) bool { return errors.Is(err, context.Canceled) }},
		{"the link's end", func() { a.endNow <- api.Errorf(api.CodeLimit, "over") }, func(err error) bool {
			return api.CodeOf(err) == api.CodeUnavailable && strings.Contains(err.Error(), "the link ended")
		}},
	} {
		ended := make(chan error, 1)
		g := run.NewGroup(context.WithoutCancel(t.Context()))
		g.Go("call", func(context.Context) error {
			ended <- call(ctx)
			return nil
		})
		next(t, "the call's beginning", began)
		tt.end()
		if err := next(t, "the end at the spoke", ended); !tt.ok(err) {
			t.Errorf("%s: %v", tt.what, err)
		}
		next(t, "the end at the hub", over)
		must(t, "call task", g.Wait())
		ctx = t.Context()
	}
}

// testSaveOutlivesNoLink: at the hub a transfer ends with its link, also when the connection that carries it lives on.
func testSaveOutlivesNoLink(t *testing.T, n Network) {
	began, over := make(chan struct{}, 1), make(chan error, 1)
	h := serve(t, n, &hub{save: func(ctx context.Context, _ api.CheckpointHeader, _ io.Reader) error {
		began <- struct{}{}
		<-ctx.Done()
		over <- context.Cause(ctx)
		return context.Cause(ctx)
	}})
	c, stream := raw(t, n)
	must(t, "send", stream.Send(&linkv1.SpokeMessage{Hello: &linkv1.Hello{ProtocolMin: 1, ProtocolMax: 1, Boot: "b"}}))
	a := h.link()
	_, err := stream.Recv() // the welcome: transfers are taken from here on
	must(t, "welcome", err)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	upload, err := c.Save(ctx)
	must(t, "save", err)
	header, _ := checkpoint(100, 100)
	must(t, "header", upload.Send(&linkv1.SaveRequest{Header: &linkv1.CheckpointHeader{Session: "s", Id: string(header.ID), ManifestBytes: 100, PackBytes: 100, PackHash: header.PackHash[:]}}))
	next(t, "the upload's beginning", began)
	a.endNow <- api.Errorf(api.CodeLimit, "over")
	if err := next(t, "the end of the transfer", over); !strings.Contains(err.Error(), "the link ended") {
		t.Errorf("ended with %v", err)
	}
	if err := upload.RecvMsg(&linkv1.SaveResponse{}); err == nil || !strings.Contains(err.Error(), "the link ended") {
		t.Errorf("answered with %v", err)
	}
}

// testSaveUnreadable says what a link would not.
func testSaveUnreadable(t *testing.T, n Network) {
	h := serve(t, n, &hub{save: func(_ context.Context, _ api.CheckpointHeader, r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return err
	}})
	header, content := checkpoint(100, 100)
	wire := &linkv1.CheckpointHeader{Session: "s", Id: string(header.ID), ManifestBytes: header.Manifest, PackBytes: header.Pack, PackHash: header.PackHash[:]}
	large := &linkv1.CheckpointHeader{Session: "s", Id: string(header.ID), ManifestBytes: 100, PackBytes: 1 << 40, PackHash: header.PackHash[:]}
	c, stream := raw(t, n)
	save := func(ms ...*linkv1.SaveRequest) error {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		s, err := c.Save(ctx)
		must(t, "save", err)
		for _, m := range ms {
			if err := s.Send(m); err != nil {
				break // it has answered
			}
		}
		_, err = s.CloseAndRecv()
		return err
	}
	if err := save(&linkv1.SaveRequest{Header: wire}, &linkv1.SaveRequest{Data: content}); err == nil {
		t.Error("a checkpoint was taken without a link")
	}
	must(t, "send", stream.Send(&linkv1.SpokeMessage{Hello: &linkv1.Hello{ProtocolMin: 1, ProtocolMax: 1, Boot: "b"}}))
	h.link()
	if m, err := stream.Recv(); err != nil || m.GetWelcome() == nil {
		t.Fatalf("welcome: %v %v", m, err)
	}
	for _, tt := range []struct {
		what string
		ms   []*linkv1.SaveRequest
	}{
		{"no header", []*linkv1.SaveRequest{{Data: content}}},
		{"a header with data", []*linkv1.SaveRequest{{Header: wire, Data: content}}},
		{"a large pack", []*linkv1.SaveRequest{{Header: large}, {Data: content}}},
		{"a second header", []*linkv1.SaveRequest{{Header: wire}, {Header: wire}}},
		{"an empty message", []*linkv1.SaveRequest{{Header: wire}, {}}},
		{"an end too early", []*linkv1.SaveRequest{{Header: wire}, {Data: content[1:]}}},
		{"an end too late", []*linkv1.SaveRequest{{Header: wire}, {Data: content}, {Data: content}}},
		{"a large message", []*linkv1.SaveRequest{{Header: wire}, {Data: make([]byte, 2<<20)}}},
	} {
		if err := save(tt.ms...); err == nil {
			t.Errorf("%s was taken", tt.what)
		}
	}
	must(t, "as it should be", save(&linkv1.SaveRequest{Header: wire}, &linkv1.SaveRequest{Data: content}))
}

func testFetch(t *testing.T, n Network) {
	header, content := checkpoint(1, 3<<20+7)
	var asked fetched
	s, _ := linked(t, n, &hub{fetch: func(_ context.Context, f fetched, w io.Writer) error {
		asked = f
		part := content[f.Offset:]
		if f.Length > 0 {
			part = part[:min(f.Length, int64(len(part)))]
		}
		_, err := w.Write(part)
		return err
	}})
	all := int64(len(content))
	for _, tt := range []struct{ offset, length int64 }{{0, 0}, {0, all}, {5, 0}, {1 << 20, 1<<20 + 1}, {all - 1, 1}} {
		want := fetched{"s", header.Source, header.ID, api.PartPack, tt.offset, tt.length}
		var got bytes.Buffer
		must(t, "fetch", s.link.FetchCheckpoint(t.Context(), want.Session, want.Source, want.ID, want.Part, want.Offset, want.Length, &got))
		if d := cmp.Diff(want, asked); d != "" {
			t.Errorf("asked (-want +got):\n%s", d)
		}
		end := all
		if tt.length > 0 {
			end = tt.offset + tt.length
		}
		if !bytes.Equal(got.Bytes(), content[tt.offset:end]) {
			t.Errorf("%+v: %d bytes came", tt, got.Len())
		}
	}
	if err := s.link.FetchCheckpoint(t.Context(), "s", header.Source, header.ID, api.PartPack, 1, all, io.Discard); err == nil {
		t.Error("fewer bytes than were asked for")
	}
	boom := errors.New("boom")
	if err := s.link.FetchCheckpoint(t.Context(), "s", header.Source, header.ID, api.PartPack, 0, 0, failing{boom}); !errors.Is(err, boom) {
		t.Errorf("a writer that fails: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func testFetchRefused(t *testing.T, n Network) {
	header, _ := checkpoint(1, 1)
	s, _ := linked(t, n, &hub{fetch: func(context.Context, fetched, io.Writer) error {
		return api.Errorf(api.CodeNotFound, "there is no such checkpoint")
	}})
	for _, tt := range []struct {
		what string
		f    fetched
		code api.Code
	}{
		{"as it should be", fetched{"s", header.Source, header.ID, api.PartPack, 0, 0}, api.CodeNotFound},
		{"no session", fetched{"", header.Source, header.ID, api.PartPack, 0, 0}, api.CodeInvalid},
		{"a bad id", fetched{"s", header.Source, "../../x", api.PartPack, 0, 0}, api.CodeInvalid},
		{"a bad part", fetched{"s", header.Source, header.ID, "refs", 0, 0}, api.CodeInvalid},
		{"a negative offset", fetched{"s", header.Source, header.ID, api.PartPack, -1, 0}, api.CodeInvalid},
	} {
		err := s.link.FetchCheckpoint(t.Context(), tt.f.Session, tt.f.Source, tt.f.ID, tt.f.Part, tt.f.Offset, tt.f.Length, io.Discard)
		if api.CodeOf(err) != tt.code {
			t.Errorf("%s: %v", tt.what, err)
		}
	}
}

// testTransfers: further transfers wait until earlier ones are done.
func testTransfers(t *testing.T, n Network) {
	const all = 12
	began, goOn := make(chan struct{}, all), make(chan struct{})
	s, _ := linked(t, n, &hub{save: func(ctx context.Context, _ api.CheckpointHeader, r io.Reader) error {
		began <- struct{}{}
		select {
		case <-goOn:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		_, err := io.Copy(io.Discard, r)
		return err
	}})
	g := run.NewGroup(t.Context())
	for range all {
		g.Go("save", func(ctx context.Context) error {
			header, content := checkpoint(100, 1<<20)
			return s.link.SaveCheckpoint(ctx, header, bytes.NewReader(content))
		})
	}
	const atATime = 4
	for range atATime {
		next(t, "a transfer", began)
	}
	select {
	case <-began:
		t.Errorf("more than %d transfers at a time", atATime)
	case <-time.After(2 * beat):
	}
	close(goOn)
	must(t, "all transfers", g.Wait())
}
