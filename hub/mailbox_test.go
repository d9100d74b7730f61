package hub

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
)

// toldSession is what counts of a session: its epoch, how many signals it has, and whether it is released.
type toldSession struct {
	Epoch   api.Epoch
	Signals int
	Release bool
}

// mailWorld has the owner of a few shards at one end of a mailbox and at the other end a spoke that knew nothing when the
// link began.
type mailWorld struct {
	t     *rapid.T
	box   *mailbox
	heads map[api.Shard]api.Head
	owned map[api.SessionID]toldSession
	home  map[api.SessionID]api.Shard
	acks  map[ackKey]uint64

	spoke     map[api.SessionID]toldSession
	revisions map[api.SessionID]api.Epoch
	acked     map[ackKey]uint64
}

func newMailWorld(t *rapid.T, most int) *mailWorld {
	return &mailWorld{t: t, box: newMailbox(most), heads: map[api.Shard]api.Head{}, owned: map[api.SessionID]toldSession{}, home: map[api.SessionID]api.Shard{},
		acks: map[ackKey]uint64{}, spoke: map[api.SessionID]toldSession{}, revisions: map[api.SessionID]api.Epoch{}, acked: map[ackKey]uint64{}}
}

func (w *mailWorld) desired(id api.SessionID, revision bool) api.Desired {
	s := w.owned[id]
	d := api.Desired{Session: id, Epoch: s.Epoch, Release: s.Release, Signals: make([]api.Signal, s.Signals)}
	for i := range d.Signals {
		d.Signals[i].Payload = make([]byte, 40_000) // so that a shard does not always fit into one message
	}
	if revision && !s.Release {
		d.Revision = &api.ResolvedRevision{}
	}
	return d
}

func (w *mailWorld) push(shard api.Shard, full bool, sessions ...api.Desired) {
	h := w.heads[shard]
	h.Generation.N = max(h.Generation.N, 1)
	h.Batch++
	w.heads[shard] = h
	if err := w.box.push(api.HubMessage{Updates: []api.ShardUpdate{{Position: api.Position{Shard: shard, Head: h}, Full: full, Sessions: sessions}}}); err != nil {
		w.t.Fatal(err)
	}
}

// everything is what a shard says when it is asked: in one update, or in parts none of which is everything.
func (w *mailWorld) everything(shard api.Shard, parts bool) {
	var all []api.Desired
	for _, id := range slices.Sorted(maps.Keys(w.owned)) {
		if w.home[id] == shard {
			all = append(all, w.desired(id, true))
		}
	}
	if !parts || len(all) < 2 {
		w.push(shard, true, all...)
		return
	}
	w.push(shard, false, all[:len(all)/2]...)
	w.push(shard, false, all[len(all)/2:]...)
}

// read takes one message, as the spoke does, and answers what the link asks for.
func (w *mailWorld) read(parts bool) bool {
	m, some, ask := w.box.take()
	if ask >= 0 {
		w.box.asked(ask)
		w.everything(api.Shard(ask), parts)
	}
	size := 0
	for _, u := range m.Updates {
		named := map[api.SessionID]bool{}
		for _, d := range u.Sessions {
			size += desiredSize(d)
			if named[d.Session] || w.home[d.Session] != u.Position.Shard {
				w.t.Fatalf("update of shard %d names %s wrongly", u.Position.Shard, d.Session)
			}
			named[d.Session] = true
			if d.Revision != nil {
				w.revisions[d.Session] = d.Epoch
			}
			if !d.Release && w.revisions[d.Session] != d.Epoch {
				w.t.Fatalf("session %s is wanted in epoch %s, whose revision nobody told", d.Session, d.Epoch)
			}
			w.spoke[d.Session] = toldSession{d.Epoch, len(d.Signals), d.Release}
		}
		if u.Full {
			for id, shard := range w.home {
				if shard == u.Position.Shard && !named[id] && w.owned[id].Epoch.N > 0 {
					w.t.Fatalf("a full update of shard %d does not name %s", shard, id)
				}
			}
		}
	}
	if size > messageBytes+400_000 {
		w.t.Fatalf("a message of %d bytes", size)
	}
	for _, a := range m.Acks {
		k := ackKey{a.Session, a.Source}
		if a.UpTo < w.acked[k] {
			w.t.Fatalf("an acknowledgement went back from %d to %d", w.acked[k], a.UpTo)
		}
		w.acked[k] = a.UpTo
	}
	return some || ask >= 0
}

// Whatever is said while nobody reads, and whenever somebody does: in the end the spoke knows what the owner wants, with the
// revision of every epoch, and what waited was bounded all along.
func TestAMailboxLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most, shards, sessions = 8, 3, 24 // the bound holds what one shard has to say
		w := newMailWorld(t, most)
		for n := range sessions {
			w.home[api.SessionID(fmt.Sprintf("s%02d", n))] = api.Shard(n % shards)
		}
		ids := slices.Sorted(maps.Keys(w.home))
		begun := map[api.Shard]bool{}
		largest := 0
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			shard := api.Shard(rapid.IntRange(0, shards-1).Draw(t, "shard"))
			id := rapid.SampledFrom(ids).Draw(t, "session")
			switch rapid.SampledFrom([]string{"change", "change", "change", "place", "release", "ack", "all", "read"}).Draw(t, "what") {
			case "place":
				s := w.owned[id]
				w.owned[id] = toldSession{Epoch: s.Epoch.Next(1), Signals: 1}
				w.push(w.home[id], false, w.desired(id, true))
			case "change":
				if s, ok := w.owned[id]; ok && !s.Release {
					s.Signals = rapid.IntRange(0, 9).Draw(t, "signals")
					w.owned[id] = s
					w.push(w.home[id], false, w.desired(id, false))
				}
			case "release":
				if s, ok := w.owned[id]; ok {
					w.owned[id] = toldSession{Epoch: s.Epoch, Release: true}
					w.push(w.home[id], false, w.desired(id, false))
				}
			case "ack":
				k := ackKey{id, api.Source{Epoch: api.Epoch{N: 1}, Attempt: uint32(rapid.IntRange(1, 2).Draw(t, "attempt"))}}
				w.acks[k] += uint64(rapid.IntRange(1, 9).Draw(t, "more"))
				if err := w.box.push(api.HubMessage{Acks: []api.Ack{{Session: k.session, Source: k.source, UpTo: w.acks[k]}}}); err != nil {
					t.Fatal(err)
				}
			case "all":
				begun[shard] = true
				w.everything(shard, rapid.Bool().Draw(t, "parts"))
			case "read":
				w.read(rapid.Bool().Draw(t, "parts"))
			}
			waiting, acks, _ := w.box.waits()
			largest = max(largest, waiting)
			if waiting > most || acks > 2*sessions {
				t.Fatalf("%d sessions and %d acknowledgements wait", waiting, acks)
			}
		}
		for shard := range api.Shard(shards) {
			if !begun[shard] { // every link begins so
				w.everything(shard, false)
			}
		}
		for n := 0; w.read(false); n++ {
			if n > 1000 {
				t.Fatal("it is never read to its end")
			}
		}
		if d := cmp.Diff(w.owned, w.spoke); d != "" {
			t.Fatalf("the spoke does not know what the owner wants (-owner +spoke):\n%s", d)
		}
		if d := cmp.Diff(w.acks, w.acked, cmp.AllowUnexported(ackKey{})); d != "" {
			t.Fatalf("acknowledgements (-owner +spoke):\n%s", d)
		}
	})
}

// What a replaced owner still says undoes nothing.
func TestAMailboxIgnoresReplacedOwners(t *testing.T) {
	b := newMailbox(10)
	at := func(generation, batch uint64) api.Position {
		return api.Position{Shard: 3, Head: api.Head{Generation: api.Generation{Incarnation: 1, N: generation}, Batch: batch}}
	}
	say := func(p api.Position, epoch uint64, upTo uint64) {
		if err := b.push(api.HubMessage{
			Updates: []api.ShardUpdate{{Position: p, Full: true, Sessions: []api.Desired{{Session: "s", Epoch: api.Epoch{N: epoch}, Revision: &api.ResolvedRevision{}}}}},
			Acks:    []api.Ack{{Session: "s", UpTo: upTo, Position: p}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	say(at(2, 5), 2, 7)
	say(at(1, 9), 1, 6)
	m, _, _ := b.take()
	if len(m.Updates) != 1 || m.Updates[0].Position != at(2, 5) || m.Updates[0].Sessions[0].Epoch.N != 2 {
		t.Errorf("updates %+v", m.Updates)
	}
	if len(m.Acks) != 1 || m.Acks[0].UpTo != 7 || m.Acks[0].Position != at(2, 5) {
		t.Errorf("acknowledgements %+v", m.Acks)
	}
}

func TestTooManySourcesEndTheLink(t *testing.T) {
	b := newMailbox(10)
	var err error
	for n := range uint64(mailAcks + 1) {
		if err != nil {
			t.Fatalf("after %d: %v", n, err)
		}
		err = b.push(api.HubMessage{Acks: []api.Ack{{Session: "s", Source: api.Source{Epoch: api.Epoch{N: n}}, UpTo: 1}}})
	}
	if api.CodeOf(err) != api.CodeLimit {
		t.Errorf("%d sources: %v", mailAcks+1, err)
	}
	m, _, _ := b.take()
	if len(m.Acks) != messageAcks {
		t.Errorf("%d acknowledgements in a message", len(m.Acks))
	}
}

// What does not fit into one message is not called everything in any of its parts.
func TestAShardThatIsTooLargeForOneMessageComesInParts(t *testing.T) {
	b := newMailbox(100)
	var all []api.Desired
	for n := range 10 {
		all = append(all, api.Desired{Session: api.SessionID(fmt.Sprint("s", n)), Revision: &api.ResolvedRevision{}, Signals: []api.Signal{{Payload: make([]byte, 300_000)}}})
	}
	if err := b.push(api.HubMessage{Updates: []api.ShardUpdate{{Full: true, Sessions: all}}}); err != nil {
		t.Fatal(err)
	}
	got, messages := 0, 0
	for m, some, _ := b.take(); some; m, some, _ = b.take() {
		messages++
		for _, u := range m.Updates {
			got += len(u.Sessions)
			if u.Full || len(u.Sessions) > 4 {
				t.Errorf("a message with %d of 10 sessions, full %v", len(u.Sessions), u.Full)
			}
		}
	}
	if got != 10 || messages != 3 {
		t.Errorf("%d sessions came in %d messages", got, messages)
	}
}

// A link that was told everything and has nothing to say keeps no more of each shard than how far it is.
func TestAnIdleMailboxIsSmall(t *testing.T) {
	b := newMailbox(mailSessions)
	for shard := range api.Shards {
		u := api.ShardUpdate{Position: api.Position{Shard: api.Shard(shard), Head: api.Head{Generation: api.Generation{N: 1}, Batch: 1}}, Full: true}
		if err := b.push(api.HubMessage{Updates: []api.ShardUpdate{u}}); err != nil {
			t.Fatal(err)
		}
	}
	told := 0
	for some := true; some; {
		var m api.HubMessage
		m, some, _ = b.take()
		told += len(m.Updates)
	}
	if told != api.Shards || b.waiting != nil || b.ready != nil {
		t.Errorf("%d of %d shards were told; %d of %d are kept, the list of those to send has room for %d", told, api.Shards, len(b.waiting), api.Shards, cap(b.ready))
	}
	late := api.ShardUpdate{Position: api.Position{Shard: 7}, Sessions: []api.Desired{{Session: "s", Release: true}}}
	if err := b.push(api.HubMessage{Updates: []api.ShardUpdate{late}}); err != nil {
		t.Fatal(err)
	}
	if m, some, _ := b.take(); some {
		t.Errorf("an owner that was replaced is heard: %+v", m)
	}
}
