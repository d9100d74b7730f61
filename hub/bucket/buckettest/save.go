package buckettest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
)

func testPayloads(t *testing.T, p Place) {
	ctx, payload := t.Context(), bytes.Repeat([]byte("nave"), 100_000)
	one, other := p.Open(t), p.Open(t)
	key, err := one.Put(ctx, org, payload)
	must(t, "Put", err)
	if again, err := other.Put(ctx, org, payload); err != nil || again != key {
		t.Fatalf("the same payload again = %q, %v, want %q", again, err, key)
	}
	if got, err := other.Fetch(ctx, key); err != nil || !bytes.Equal(got, payload) {
		t.Fatalf("Fetch = %d bytes, %v, want the payload", len(got), err)
	}
	if theirs, err := other.Put(ctx, "other", payload); err != nil || theirs == key {
		t.Fatalf("another organization's payload = %q, %v, want a key of its own", theirs, err)
	}
	_, err = one.Fetch(ctx, "payloads/acme/00")
	wantCode(t, "Fetch of nothing", err, api.CodeNotFound)
}

func testSaveAndFetch(t *testing.T, p Place) {
	one, other := p.Open(t), p.Open(t)
	first, second := build(1, 3_000_000), build(2, 10)
	second = build(2, 10, first.header.ID)
	bare := build(3, 0, first.header.ID, second.header.ID)
	wantGone(t, one, first)
	must(t, "save the first", first.save(t.Context(), one))
	wantComplete(t, other, first)
	wantGone(t, other, second)
	must(t, "save the second", second.save(t.Context(), other))
	wantComplete(t, one, second, first)
	must(t, "save one without a pack", bare.save(t.Context(), one))
	wantComplete(t, other, bare, first, second)
	wantHas(t, one, "", false)
	wantHas(t, one, "../"+first.header.ID, false)
}

func testRanges(t *testing.T, p Place) {
	b := p.Open(t)
	m := build(1, 1000)
	must(t, "save", m.save(t.Context(), b))
	for _, tt := range []struct {
		offset, length int64
		want           []byte
	}{{0, 0, m.pack()}, {0, 1000, m.pack()}, {10, 5, m.pack()[10:15]}, {990, 0, m.pack()[990:]}, {990, 10, m.pack()[990:]}, {1000, 0, nil}} {
		var got bytes.Buffer
		must(t, "fetch", b.FetchCheckpoint(t.Context(), org, session, m.header.ID, api.PartPack, tt.offset, tt.length, &got))
		if !bytes.Equal(got.Bytes(), tt.want) {
			t.Errorf("%d bytes from %d on = %d bytes, want %d", tt.length, tt.offset, got.Len(), len(tt.want))
		}
	}
	for field, r := range map[string][2]int64{"offset": {1001, 0}, "length": {990, 11}} {
		err := b.FetchCheckpoint(t.Context(), org, session, m.header.ID, api.PartPack, r[0], r[1], io.Discard)
		if api.CodeOf(err) != api.CodeInvalid || api.FieldOf(err) != field {
			t.Errorf("range %v = %v, want CodeInvalid of %s", r, err, field)
		}
	}
	for field, r := range map[string][2]int64{"offset": {-1, 0}, "length": {0, -1}} {
		err := b.FetchCheckpoint(t.Context(), org, session, m.header.ID, api.PartPack, r[0], r[1], io.Discard)
		if api.CodeOf(err) != api.CodeInvalid || api.FieldOf(err) != field {
			t.Errorf("range %v = %v, want CodeInvalid of %s", r, err, field)
		}
	}
	err := b.FetchCheckpoint(t.Context(), org, session, m.header.ID, "refs", 0, 0, io.Discard)
	if api.CodeOf(err) != api.CodeInvalid || api.FieldOf(err) != "part" {
		t.Errorf("an unknown part = %v, want CodeInvalid of part", err)
	}
	broken := errors.New("broken")
	if err := b.FetchCheckpoint(t.Context(), org, session, m.header.ID, api.PartPack, 0, 0, brokenWriter{broken}); !errors.Is(err, broken) {
		t.Errorf("a writer that breaks = %v, want its error", err)
	}
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

func testRefusesHeaders(t *testing.T, p Place) {
	b := p.Open(t)
	other := build(9, 10)
	must(t, "save", other.save(t.Context(), b))
	for _, tt := range []struct {
		field  string
		change func(*api.CheckpointHeader)
	}{
		{"session", func(h *api.CheckpointHeader) { h.Session = "" }},
		{"id", func(h *api.CheckpointHeader) { h.ID = "" }},
		{"id", func(h *api.CheckpointHeader) { h.ID = h.ID[:63] + "/" }},
		{"manifest_bytes", func(h *api.CheckpointHeader) { h.Manifest = 0 }},
		{"manifest_bytes", func(h *api.CheckpointHeader) { h.Manifest = api.MaxManifestBytes + 1 }},
		{"pack_bytes", func(h *api.CheckpointHeader) { h.Pack = -1 }},
		{"pack_bytes", func(h *api.CheckpointHeader) { h.Pack = api.MaxCheckpointBytes + 1 }},
		{"packs[0]", func(h *api.CheckpointHeader) { h.Packs = []api.CheckpointID{"../x"} }},
		{"packs[0]", func(h *api.CheckpointHeader) { h.Packs = []api.CheckpointID{h.ID} }},
		{"packs[1]", func(h *api.CheckpointHeader) { h.Packs = []api.CheckpointID{other.header.ID, other.header.ID} }},
		{"packs", func(h *api.CheckpointHeader) { h.Packs = make([]api.CheckpointID, 5000) }},
	} {
		m := build(1, 10)
		tt.change(&m.header)
		if err := m.save(t.Context(), b); api.CodeOf(err) != api.CodeInvalid || api.FieldOf(err) != tt.field {
			t.Errorf("header %+v = %v, want CodeInvalid of %s", m.header, err, tt.field)
		}
	}
	wantGone(t, b, build(1, 10))
}

func testRefusesContent(t *testing.T, p Place) {
	one, other := p.Open(t), p.Open(t)
	for what, change := range map[string]func(*made){
		"an empty content":       func(m *made) { m.content = nil },
		"half a manifest":        func(m *made) { m.content = m.content[:5] },
		"no pack":                func(m *made) { m.content = m.manifest() },
		"a pack that ends early": func(m *made) { m.content = m.content[:len(m.content)-1] },
		"another manifest":       func(m *made) { m.content[3]++ },
		"another pack":           func(m *made) { m.content[len(m.content)-1]++ },
	} {
		m := build(1, 100_000)
		change(&m)
		wantCode(t, what, m.save(t.Context(), one), api.CodeInvalid)
		wantGone(t, other, m)
	}
	m := build(1, 100_000)
	must(t, "the right one", m.save(t.Context(), one))
	wantComplete(t, other, m)
}

func testMissingPacks(t *testing.T, p Place) {
	b := p.Open(t)
	first, bare := build(1, 10), build(2, 0)
	must(t, "save", bare.save(t.Context(), b))
	for what, m := range map[string]made{"a pack that never was": build(3, 10, first.header.ID), "a checkpoint without a pack": build(4, 10, bare.header.ID)} {
		wantCode(t, what, m.save(t.Context(), b), api.CodeFailed)
		unread := brokenReader{errors.New("it was read")}
		wantCode(t, what+", before anything is uploaded", b.SaveCheckpoint(t.Context(), org, m.header, unread), api.CodeFailed)
		wantGone(t, b, m)
	}
	second := build(3, 10, first.header.ID)
	must(t, "save the first", first.save(t.Context(), b))
	must(t, "save the second", second.save(t.Context(), b))
	wantComplete(t, b, second, first)
}

// testInterrupted breaks off at several places: by an error of the content, and by the end of the context.
func testInterrupted(t *testing.T, p Place) {
	one, other := p.Open(t), p.Open(t)
	m := build(1, 2_000_000)
	broken := errors.New("cut off")
	for _, at := range []int{0, 3, int(m.header.Manifest), int(m.header.Manifest) + 1, 1_000_000, len(m.content) - 1} {
		r := io.MultiReader(bytes.NewReader(m.content[:at]), brokenReader{broken})
		err := one.SaveCheckpoint(t.Context(), org, m.header, r)
		if api.CodeOf(err) != api.CodeUnavailable || !errors.Is(err, broken) {
			t.Fatalf("a content that breaks at %d = %v, want CodeUnavailable with its error", at, err)
		}
		wantGone(t, other, m)
		ctx, cancel := context.WithCancel(t.Context())
		r = io.MultiReader(bytes.NewReader(m.content[:at]), cancelReader{cancel}, bytes.NewReader(m.content[at:]))
		wantCode(t, "a context that ends meanwhile", one.SaveCheckpoint(ctx, org, m.header, r), api.CodeUnavailable)
		wantGone(t, other, m)
	}
	must(t, "save at last", m.save(t.Context(), one))
	wantComplete(t, other, m)
}

type brokenReader struct{ err error }

func (r brokenReader) Read([]byte) (int, error) { return 0, r.err }

// cancelReader is empty; it ends a context when it is reached.
type cancelReader struct{ cancel func() }

func (r cancelReader) Read([]byte) (int, error) { r.cancel(); return 0, io.EOF }

func testSameAgain(t *testing.T, p Place) {
	one, other := p.Open(t), p.Open(t)
	m := build(1, 100)
	must(t, "save", m.save(t.Context(), one))
	unread := brokenReader{errors.New("it was read")}
	must(t, "the same again, unread", other.SaveCheckpoint(t.Context(), org, m.header, unread))
	another := m
	another.header.PackHash[0]++
	wantCode(t, "the same id with another pack", another.save(t.Context(), other), api.CodeFailed)
	wantComplete(t, one, m)
}

func testSameAtOnce(t *testing.T, p Place) {
	m := build(1, 300_000)
	g := run.NewGroup(t.Context())
	for range 4 {
		b := p.Open(t)
		for range 3 {
			g.Go("save", func(ctx context.Context) error { return m.save(ctx, b) })
		}
	}
	must(t, "saves", g.Wait())
	wantComplete(t, p.Open(t), m)
}

func testTenants(t *testing.T, p Place) {
	b, m := p.Open(t), build(1, 100)
	must(t, "save", m.save(t.Context(), b))
	for _, where := range []struct {
		org     api.OrgID
		session api.SessionID
	}{{"other", session}, {org, "01HZY0000000000000000000AB"}, {org + "/" + api.OrgID(session), ""}, {"", ""}} {
		has, err := b.HasCheckpoint(t.Context(), where.org, where.session, m.header.ID)
		must(t, "HasCheckpoint", err)
		if has {
			t.Errorf("%v has the checkpoint of another one", where)
		}
		err = b.FetchCheckpoint(t.Context(), where.org, where.session, m.header.ID, api.PartPack, 0, 0, io.Discard)
		wantCode(t, "fetch from elsewhere", err, api.CodeNotFound)
		_, err = b.CollectCheckpoints(t.Context(), where.org, where.session, nil)
		must(t, "collect elsewhere", err)
	}
	wantComplete(t, b, m)
}
