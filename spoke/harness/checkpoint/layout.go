package checkpoint

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/nave-dev/nave/api"
)

// Bounds of the packs that a checkpoint refers to beside its own.
const (
	mostPacks = 15 // with more, the ones that the least is used of are written anew
	fewPacks  = 8  // until so many are left
)

// used is a pack of the base, and how much of it the new checkpoint needs.
type used struct {
	bytes int64
	live  int64
	keep  bool
}

// lay gives every chunk its place: in a pack that base refers to, or in the checkpoint's own. It depends on nothing but its
// arguments.
func (m *Manifest) lay(base *Manifest, size func(sum) (uint32, bool), limit int64) error {
	n := m.chunks.len()
	m.chunks.stored, m.chunks.pack, m.chunks.offset = make([]uint32, n), make([]uint32, n), make([]uint64, n)
	was, packs := base.use(&m.chunks)
	fresh := int64(0)
	for i := range n {
		if was[i] >= 0 {
			continue
		}
		stored, ok := size(m.chunks.id(i))
		if !ok {
			return fmt.Errorf("chunk %s: %w", m.chunks.id(i), errMissing) // a take puts every chunk into the store
		}
		m.chunks.stored[i] = stored
		fresh += int64(stored)
	}
	choosePacks(packs, limit-fresh)
	m.packs = []packRef{{}}
	index := make(map[uint32]uint32) // of a base's pack -> of ours
	for i := range n {
		if r := was[i]; r >= 0 && packs[base.chunks.pack[r]].keep {
			from := base.chunks.pack[r]
			at, ok := index[from]
			if !ok {
				at = uint32(len(m.packs))
				index[from] = at
				m.packs = append(m.packs, packRef{checkpoint: base.packOf(int(r)), bytes: base.packs[from].bytes})
			}
			m.chunks.pack[i], m.chunks.offset[i], m.chunks.stored[i] = at, base.chunks.offset[r], base.chunks.stored[r]
			continue
		}
		if was[i] >= 0 {
			stored, ok := size(m.chunks.id(i))
			if !ok {
				return fmt.Errorf("chunk %s: %w", m.chunks.id(i), errMissing)
			}
			m.chunks.stored[i] = stored
		}
		m.chunks.offset[i] = uint64(m.packs[0].bytes)
		m.packs[0].bytes += int64(m.chunks.stored[i])
	}
	switch {
	case m.packs[0].bytes > limit:
		return api.Errorf(api.CodeLimit, "the checkpoint adds %d bytes to the bucket, at most %d: remove what the agent does not need between turns", m.packs[0].bytes, limit)
	case len(m.packs) > maxPacks:
		return api.Errorf(api.CodeLimit, "the checkpoint refers to %d packs, at most %d", len(m.packs), maxPacks)
	}
	return nil
}

// use finds the row that each chunk has in the base, or -1, and how much of each of its packs they are. The base may be nil.
func (m *Manifest) use(chunks *table) ([]int32, []used) {
	was := make([]int32, chunks.len())
	for i := range was {
		was[i] = -1
	}
	if m == nil {
		return was, nil
	}
	rows := make(map[sum]int32, m.chunks.len())
	for i := range m.chunks.len() {
		rows[m.chunks.id(i)] = int32(i)
	}
	packs := make([]used, len(m.packs))
	for i, p := range m.packs {
		packs[i].bytes = p.bytes
	}
	for i := range was {
		if r, ok := rows[chunks.id(i)]; ok {
			was[i] = r
			packs[m.chunks.pack[r]].live += int64(m.chunks.stored[r])
		}
	}
	return was, packs
}

// choosePacks marks the packs that stay in use. Of one that is less than half in use, and of the smallest ones when there are
// many, the chunks are written anew, so that the bucket holds at most about twice what is needed, in few objects. No more than
// budget bytes are written for that.
func choosePacks(packs []used, budget int64) {
	var order []int
	for i := range packs {
		if packs[i].keep = packs[i].live > 0; packs[i].keep {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(packs[a].live, packs[b].live) })
	left := len(order)
	drop := func(i int) {
		if packs[i].keep && packs[i].live <= budget {
			packs[i].keep = false
			budget -= packs[i].live
			left--
		}
	}
	for _, i := range order {
		if packs[i].live*2 < packs[i].bytes {
			drop(i)
		}
	}
	if left <= mostPacks {
		return
	}
	for _, i := range order {
		if left > fewPacks {
			drop(i)
		}
	}
}
