package buckettest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
)

func testCollect(t *testing.T, p Place) {
	one, other := p.Open(t), p.Open(t)
	a := build(1, 100)
	b := build(2, 100, a.header.ID)
	c := build(3, 100)
	d := build(4, 100, c.header.ID)
	for _, m := range []made{a, b, c, d} {
		must(t, "save", m.save(t.Context(), one))
	}
	collect(t, other, a)
	for _, m := range []made{a, b, c, d} { // later ones may be on their way into the record
		wantHas(t, one, m.header.ID, true)
	}
	collect(t, other, b, c, d) // b needs the pack of a
	wantComplete(t, one, b, a)
	if n := collect(t, other, c, d); n != 6 {
		t.Errorf("removed %d objects, want the six of two checkpoints", n)
	}
	wantGone(t, one, a)
	wantGone(t, one, b)
	wantComplete(t, one, c)
	if n := collect(t, other, d); n != 0 {
		t.Errorf("removed %d objects that the last one needs", n)
	}
	wantComplete(t, one, d, c)
}

func testCollectEverything(t *testing.T, p Place) {
	b := p.Open(t)
	for n := range 5 {
		must(t, "save", build(n, 100*n).save(t.Context(), b))
	}
	m := build(9, 1000)
	err := b.SaveCheckpoint(t.Context(), org, m.header, bytes.NewReader(m.manifest())) // leaves a manifest
	wantCode(t, "half a checkpoint", err, api.CodeInvalid)
	if n := collect(t, b); n < 15 {
		t.Errorf("removed %d objects, want those of five checkpoints", n)
	}
	for n := range 5 {
		wantGone(t, b, build(n, 100*n))
	}
	if n := collect(t, b); n != 0 {
		t.Errorf("removed %d objects the second time", n)
	}
}

func testCollectInDoubt(t *testing.T, p Place) {
	b := p.Open(t)
	first, second, third := build(1, 100), build(2, 100), build(3, 100)
	must(t, "save", first.save(t.Context(), b))
	must(t, "save", second.save(t.Context(), b))
	_, err := b.CollectCheckpoints(t.Context(), org, session, ids(second, third))
	wantCode(t, "one that is not there is to be kept", err, api.CodeFailed)
	wantComplete(t, b, first)
	wantComplete(t, b, second)
}

func testCollectMany(t *testing.T, p Place) {
	const all = 400 // three objects each: more than one page of a listing
	b := p.Open(t)
	var states []made
	for n := range all {
		states = append(states, build(n, 10))
		must(t, "save", states[n].save(t.Context(), b))
	}
	if n := collect(t, b, states[all-2:]...); n != 3*(all-2) {
		t.Errorf("removed %d objects, want %d", n, 3*(all-2))
	}
	for n, m := range states {
		wantHas(t, b, m.header.ID, n >= all-2)
	}
}

// testCollectWhileSaving saves a chain, each of which needs the pack of the one before it, while another user collects all
// but the last three: none of those may ever miss anything.
func testCollectWhileSaving(t *testing.T, p Place) {
	const length = 60
	one, other := p.Open(t), p.Open(t)
	saved := make(chan []made, length) // all of them: the collector is slower
	g := run.NewGroup(t.Context())
	g.Go("saver", func(ctx context.Context) error {
		defer close(saved)
		var chain []made
		for n := range length {
			var packs []api.CheckpointID
			if n%7 != 0 {
				packs = ids(chain[n-1])
			}
			m := build(n, 1000, packs...)
			if err := m.save(ctx, one); err != nil {
				return err
			}
			chain = append(chain, m)
			saved <- chain[max(0, n-2):]
		}
		return nil
	})
	removed := 0
	g.Go("collector", func(ctx context.Context) error {
		for keep := range saved {
			n, err := other.CollectCheckpoints(ctx, org, session, ids(keep...))
			if removed += n; err != nil {
				return err
			}
			for _, m := range keep {
				if has, err := other.HasCheckpoint(ctx, org, session, m.header.ID); err != nil || !has {
					return fmt.Errorf("one of the last three is complete: %t, %w", has, err)
				}
			}
		}
		return nil
	})
	must(t, "saver and collector", g.Wait())
	if removed < length {
		t.Errorf("removed %d objects: the collector did not work beside the saver", removed)
	}
}

// testCollectEnded removes everything of a session while one of its checkpoints is being saved: nothing may be left.
func testCollectEnded(t *testing.T, p Place) {
	b, m := p.Open(t), build(1, 100_000)
	half := make(chan struct{})
	rest, restWriter := io.Pipe()
	g := run.NewGroup(t.Context())
	g.Go("save", func(ctx context.Context) error {
		err := b.SaveCheckpoint(ctx, org, m.header, io.MultiReader(bytes.NewReader(m.content[:50_000]), cancelReader{func() { close(half) }}, rest))
		if api.CodeOf(err) != api.CodeFailed {
			return fmt.Errorf("save = %w, want CodeFailed", err)
		}
		return nil
	})
	<-half
	collect(t, b)
	g.Go("rest", func(context.Context) error {
		_, err := restWriter.Write(m.content[50_000:])
		return err
	})
	must(t, "save", g.Wait())
	wantGone(t, b, m)
	if n := collect(t, b); n != 0 {
		t.Errorf("%d objects were left", n)
	}
	must(t, "save later", m.save(t.Context(), b))
	wantComplete(t, b, m)
}

// testComeBack goes through states and back to the first: saving it again makes it the youngest, though it was there.
func testComeBack(t *testing.T, p Place) {
	one, other := p.Open(t), p.Open(t)
	a, b, c, d := build(1, 100), build(2, 100), build(3, 100), build(4, 100)
	for _, m := range []made{a, b, c, d, a} {
		must(t, "save", m.save(t.Context(), one))
	}
	collect(t, other, b, c, d) // was decided before a was saved again
	wantComplete(t, one, a)
	collect(t, other, c, d, a)
	wantComplete(t, one, a)
	wantGone(t, one, b)
}

// testHistories saves states of few kinds in any order, each needing packs of the one before it, and collects now and then:
// the last three are complete after each step.
func testHistories(t *testing.T, p Place) {
	one, other := p.Open(t), p.Open(t)
	rapid.Check(t, func(rt *rapid.T) {
		_, err := one.CollectCheckpoints(rt.Context(), org, session, nil)
		must(rt, "begin", err)
		byID := map[api.CheckpointID]made{}
		var keep []made
		for range rapid.IntRange(1, 20).Draw(rt, "steps") {
			b := rapid.SampledFrom([]Bucket{one, other}).Draw(rt, "user")
			if len(keep) > 0 && rapid.IntRange(0, 3).Draw(rt, "collect") == 0 {
				collect(rt, b, keep...)
			}
			m := build(rapid.IntRange(0, 5).Draw(rt, "state"), rapid.SampledFrom([]int{0, 1, 50}).Draw(rt, "pack"))
			if len(keep) > 0 && rapid.Bool().Draw(rt, "reuse") {
				last := keep[len(keep)-1]
				packs := slices.Clone(last.header.Packs)
				if last.header.Pack > 0 {
					packs = append(packs, last.header.ID)
				}
				m = build(int(m.content[len("state ")]-'0'), int(m.header.Pack), packs...)
			}
			must(rt, "save", m.save(rt.Context(), b))
			byID[m.header.ID] = m
			keep = slices.DeleteFunc(keep, func(k made) bool { return k.header.ID == m.header.ID })
			keep = append(keep, m)
			keep = keep[max(0, len(keep)-3):]
			for _, k := range keep {
				var needs []made
				for _, id := range k.header.Packs {
					needs = append(needs, byID[id])
				}
				wantComplete(rt, other, k, needs...)
			}
		}
	})
}
