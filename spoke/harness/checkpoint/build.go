package checkpoint

import (
	"encoding/hex"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/checkpoint/manifestv1"
)

var encoding = proto.MarshalOptions{Deterministic: true}

// builder makes the manifest of a tree: entries one by one, then the layout.
type builder struct {
	limits  Limits
	raw     []byte
	entry   []byte // scratch
	rows    map[sum]uint32
	chunks  table
	entries int
	files   int
	content int64
}

func newBuilder(limits Limits) *builder {
	b := &builder{limits: limits, rows: make(map[sum]uint32)}
	b.raw = protowire.AppendTag(b.raw, fieldFormat, protowire.VarintType)
	b.raw = protowire.AppendVarint(b.raw, format)
	return b
}

// chunk returns what an entry calls a chunk: its row in the table plus one.
func (b *builder) chunk(id sum, plain uint32) uint32 {
	row, ok := b.rows[id]
	if !ok {
		row = uint32(b.chunks.len())
		b.rows[id] = row
		b.chunks.ids = append(b.chunks.ids, id[:]...)
		b.chunks.plain = append(b.chunks.plain, plain)
	}
	b.content += int64(plain)
	return row + 1
}

// add appends an entry.
func (b *builder) add(e *manifestv1.Entry) error {
	var err error
	if b.entry, err = encoding.MarshalAppend(b.entry[:0], e); err != nil {
		return fmt.Errorf("encode entry: %w", err)
	}
	b.raw = protowire.AppendTag(b.raw, fieldEntries, protowire.BytesType)
	b.raw = protowire.AppendBytes(b.raw, b.entry)
	b.entries++
	if e.Kind == manifestv1.Kind_KIND_FILE {
		b.files++
	}
	switch {
	case b.entries > b.limits.Entries:
		return api.Errorf(api.CodeLimit, "the state has more than %d files, directories and links: remove what the agent does not need between turns", b.limits.Entries)
	case b.content > b.limits.Content:
		return api.Errorf(api.CodeLimit, "the files of the state have more than %d bytes: remove what the agent does not need between turns", b.limits.Content)
	case int64(len(b.raw)+b.chunks.len()*40) > b.limits.Manifest:
		return api.Errorf(api.CodeLimit, "the manifest of the state has more than %d bytes: the state has too many files, remove what the agent does not need between turns", b.limits.Manifest)
	}
	return nil
}

// finish lays the chunks out and returns the manifest. size returns the stored length of a chunk.
func (b *builder) finish(base *Manifest, size func(sum) (uint32, bool)) (*Manifest, error) {
	m := &Manifest{Entries: b.entries, Files: b.files, Content: b.content, chunks: b.chunks}
	m.from, m.to = 2, len(b.raw) // behind the format
	if err := m.lay(base, size, b.limits.Pack); err != nil {
		return nil, err
	}
	c, err := encoding.Marshal(&manifestv1.Chunks{Ids: m.chunks.ids, Plain: m.chunks.plain, Stored: m.chunks.stored, Pack: m.chunks.pack, Offset: m.chunks.offset})
	if err != nil {
		return nil, fmt.Errorf("encode chunk table: %w", err)
	}
	b.raw = protowire.AppendTag(b.raw, fieldChunks, protowire.BytesType)
	b.raw = protowire.AppendBytes(b.raw, c)
	for _, p := range m.packs {
		checkpoint, err := hex.DecodeString(string(p.checkpoint))
		if err != nil {
			return nil, fmt.Errorf("encode pack: %w", err)
		}
		one, err := encoding.Marshal(&manifestv1.Pack{Checkpoint: checkpoint, Bytes: uint64(p.bytes)})
		if err != nil {
			return nil, fmt.Errorf("encode pack: %w", err)
		}
		b.raw = protowire.AppendTag(b.raw, fieldPacks, protowire.BytesType)
		b.raw = protowire.AppendBytes(b.raw, one)
	}
	if int64(len(b.raw)) > b.limits.Manifest {
		return nil, api.Errorf(api.CodeLimit, "the manifest of the state has %d bytes, at most %d: the state has too many files, remove what the agent does not need between turns", len(b.raw), b.limits.Manifest)
	}
	m.raw, m.id = b.raw, idOf(b.raw)
	return m, nil
}
