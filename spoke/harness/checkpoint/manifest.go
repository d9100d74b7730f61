package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/checkpoint/manifestv1"
)

// format is the one that this package writes, and the highest that it reads.
const format = 1

// Numbers of the fields of manifestv1.Manifest: the entries are read and written one by one.
const (
	fieldFormat  protowire.Number = 1
	fieldEntries protowire.Number = 2
	fieldChunks  protowire.Number = 3
	fieldPacks   protowire.Number = 4
)

// Manifest says what a state directory held and where its chunks lie. It is verified and never changes. In memory it is its
// encoding and the columns of its chunk table; entries are decoded when they are walked.
type Manifest struct {
	id     api.CheckpointID
	raw    []byte
	from   int // of raw: where the entries begin
	to     int // of raw: where they end
	chunks table
	packs  []packRef // the first one is its own

	// Entries, Files and Content are counts: of everything, of regular files, and of the bytes of these without holes.
	Entries int
	Files   int
	Content int64
}

// packRef is a pack that a manifest refers to.
type packRef struct {
	checkpoint api.CheckpointID // empty: the manifest's own
	bytes      int64
}

// table holds the columns of manifestv1.Chunks.
type table struct {
	ids    []byte
	plain  []uint32
	stored []uint32
	pack   []uint32
	offset []uint64
}

func (t *table) len() int { return len(t.plain) }

func (t *table) id(i int) sum { return sum(t.ids[i*sha256.Size:]) }

// ID is the SHA-256 of the manifest.
func (m *Manifest) ID() api.CheckpointID { return m.id }

// Bytes is the encoding: what is uploaded as [api.PartManifest]. It must not be changed.
func (m *Manifest) Bytes() []byte { return m.raw }

// PackBytes is the length of the checkpoint's own pack.
func (m *Manifest) PackBytes() int64 { return m.packs[0].bytes }

// Packs names the other checkpoints whose packs it refers to, in the order of first use.
func (m *Manifest) Packs() []api.CheckpointID {
	ids := make([]api.CheckpointID, 0, len(m.packs)-1)
	for _, p := range m.packs[1:] {
		ids = append(ids, p.checkpoint)
	}
	return ids
}

// packOf names the checkpoint whose pack has chunk i.
func (m *Manifest) packOf(i int) api.CheckpointID {
	if p := m.chunks.pack[i]; p != 0 {
		return m.packs[p].checkpoint
	}
	return m.id
}

// sameState tells whether two checkpoints hold the same tree, wherever their chunks lie. Chunks are numbered in the order of
// first use, so that equal trees have equal entries.
func sameState(a, b *Manifest) bool {
	return string(a.raw[a.from:a.to]) == string(b.raw[b.from:b.to]) && string(a.chunks.ids) == string(b.chunks.ids)
}

func idOf(raw []byte) api.CheckpointID {
	s := sha256.Sum256(raw)
	return api.CheckpointID(hex.EncodeToString(s[:]))
}

// Parse reads a manifest and checks everything about it that does not need its chunks. It keeps raw. An error has CodeInvalid,
// or CodeUnsupported when a newer Nave wrote it.
func Parse(raw []byte) (*Manifest, error) {
	if len(raw) > api.MaxManifestBytes {
		return nil, api.Errorf(api.CodeLimit, "the manifest has %d bytes, at most %d", len(raw), api.MaxManifestBytes)
	}
	m := &Manifest{id: idOf(raw), raw: raw, from: -1}
	if err := m.fields(); err != nil {
		return nil, api.Errorf(api.CodeOf(coded(err)), "manifest %.16s: %w", m.id, err)
	}
	if err := m.check(); err != nil {
		return nil, api.Errorf(api.CodeInvalid, "manifest %.16s: %w", m.id, err)
	}
	return m, nil
}

// coded gives an error without a code that of bad input.
func coded(err error) error {
	if api.CodeOf(err) == api.CodeInternal {
		return api.Errorf(api.CodeInvalid, "%w", err)
	}
	return err
}

// fields reads the outer message. Fields that it does not know are left alone.
func (m *Manifest) fields() error {
	version, chunks := uint64(0), false
	for at := 0; at < len(m.raw); {
		number, kind, n := protowire.ConsumeTag(m.raw[at:])
		if n < 0 {
			return fmt.Errorf("offset %d: %w", at, protowire.ParseError(n))
		}
		body := m.raw[at+n:]
		size := protowire.ConsumeFieldValue(number, kind, body)
		if size < 0 {
			return fmt.Errorf("offset %d: %w", at, protowire.ParseError(size))
		}
		next := at + n + size
		switch {
		case number == fieldFormat && kind == protowire.VarintType:
			version, _ = protowire.ConsumeVarint(body)
		case number == fieldEntries && kind == protowire.BytesType:
			if m.from < 0 {
				m.from = at
			} else if m.to != at {
				return fmt.Errorf("offset %d: an entry apart from the others", at)
			}
			m.to = next
		case number == fieldChunks && kind == protowire.BytesType:
			if chunks {
				return fmt.Errorf("offset %d: a second chunk table", at)
			}
			chunks = true
			value, _ := protowire.ConsumeBytes(body)
			if err := m.readChunks(value); err != nil {
				return err
			}
		case number == fieldPacks && kind == protowire.BytesType:
			value, _ := protowire.ConsumeBytes(body)
			if err := m.readPack(value); err != nil {
				return err
			}
		}
		at = next
	}
	switch {
	case version == 0:
		return fmt.Errorf("it names no format")
	case version > format:
		return api.Errorf(api.CodeUnsupported, "its format is %d, this Nave reads up to %d: use the version that wrote it, or a newer one", version, format)
	case m.from < 0:
		return fmt.Errorf("it has no root")
	}
	return nil
}

func (m *Manifest) readChunks(raw []byte) error {
	var c manifestv1.Chunks
	if err := proto.Unmarshal(raw, &c); err != nil {
		return fmt.Errorf("chunk table: %w", err)
	}
	m.chunks = table{ids: c.Ids, plain: c.Plain, stored: c.Stored, pack: c.Pack, offset: c.Offset}
	return nil
}

func (m *Manifest) readPack(raw []byte) error {
	var p manifestv1.Pack
	if err := proto.Unmarshal(raw, &p); err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	if len(m.packs) == maxPacks {
		return fmt.Errorf("more than %d packs", maxPacks)
	}
	if p.Bytes > api.MaxCheckpointBytes {
		return fmt.Errorf("pack %d has %d bytes, at most %d", len(m.packs), p.Bytes, int64(api.MaxCheckpointBytes))
	}
	m.packs = append(m.packs, packRef{checkpoint: api.CheckpointID(hex.EncodeToString(p.Checkpoint)), bytes: int64(p.Bytes)})
	return nil
}
