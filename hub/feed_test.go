package hub

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/nave-dev/nave/api"
)

func numbered(from, to uint64) []api.Event {
	var out []api.Event
	for n := from; n <= to; n++ {
		out = append(out, api.Event{Number: n, Text: "text"})
	}
	return out
}

// A reader that follows gets every event once and in order without the archive; one that is behind is sent to the archive.
func TestAReaderGetsWhatIsNew(t *testing.T) {
	f := newFeed()
	r, end := f.subscribe("s", false)
	defer end()
	want := func(from uint64, most int, first, last uint64, known bool) {
		t.Helper()
		events, ok := r.take(from, most)
		var a, b uint64
		if len(events) > 0 {
			a, b = events[0].Number, events[len(events)-1].Number
		}
		if ok != known || a != first || b != last || b > 0 && len(events) != int(b-a+1) {
			t.Fatalf("from %d: events %d to %d (%d of them), known %v; want %d to %d, %v", from, a, b, len(events), ok, first, last, known)
		}
	}
	want(1, 10, 0, 0, false) // nobody told it of anything
	f.notify("s", numbered(5, 8))
	f.notify("other", numbered(1, 2))
	want(3, 10, 0, 0, false) // 3 and 4 are in the archive
	want(5, 3, 5, 7, true)
	want(8, 3, 8, 8, true)
	want(9, 3, 0, 0, true) // there is no more
	f.notify("s", numbered(9, 10))
	f.notify("s", numbered(11, 12))
	want(10, 9, 10, 12, true) // 9 came from the archive
	f.notify("s", numbered(13, 13))
	f.notify("s", nil) // the session is over
	want(13, 9, 13, 13, true)
	want(14, 9, 0, 0, false)
	f.notify("s", numbered(14, 14))
	f.notify("s", numbered(15, 14+eventsPerReader)) // more than waits for a reader
	want(14, 9, 0, 0, false)
	if n := len(r.fresh); n > eventsPerReader {
		t.Errorf("%d events wait", n)
	}
}

// What a spoke sends as one message reaches the archive by one transaction, though it comes from several shards; what comes
// after a pause waits for nothing.
func TestTheArchiverGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchiver(nil, nil, nil, nil)
		gather := func(last time.Time) (shards int, took time.Duration) {
			began := time.Now()
			n := len(a.gather(t.Context(), <-a.in, last))
			return n, time.Since(began)
		}
		hand := func(shard api.Shard, source api.Source, count int) {
			events := numbered(1, uint64(count))
			for i := range events {
				events[i].Source = source
			}
			if err := a.submit(t.Context(), shard, []Append{{Shard: shard, Events: events}}); err != nil {
				t.Fatal(err)
			}
		}
		submit := func(shard api.Shard, count int) { hand(shard, api.Source{Attempt: 1}, count) }
		time.Sleep(time.Second)
		submit(1, 1)
		submit(2, 1)
		if n, took := gather(time.Now().Add(-archivePace)); n != 2 || took != 0 {
			t.Errorf("after a pause: %d submissions after %v", n, took)
		}
		submit(1, 1)
		time.AfterFunc(archivePace/2, func() { submit(2, 1) })
		if n, took := gather(time.Now()); n != 2 || took != archivePace {
			t.Errorf("right after a transaction: %d submissions after %v, want 2 after %v", n, took, archivePace)
		}
		hand(1, api.HubSource, 1)
		time.AfterFunc(archiveLinger/2, func() { hand(2, api.HubSource, 1) })
		if n, took := gather(time.Now().Add(-time.Second)); n != 2 || took != archiveLinger {
			t.Errorf("the hub's own: %d submissions after %v, want 2 after %v", n, took, archiveLinger)
		}
		hand(1, api.HubSource, 1)
		time.AfterFunc(archiveLinger/3, func() { submit(2, 1) })
		if n, took := gather(time.Now().Add(-time.Second)); n != 2 || took != archiveLinger/3 {
			t.Errorf("the hub's own, and then a spoke's: %d submissions after %v, want 2 after %v", n, took, archiveLinger/3)
		}
		submit(1, archiveEnough)
		if n, took := gather(time.Now()); n != 1 || took != 0 {
			t.Errorf("much: %d submissions after %v", n, took)
		}
	})
}

func TestAcknowledgementsAloneAreCalm(t *testing.T) {
	b := newMailbox(10)
	if b.calm() {
		t.Error("an empty mailbox is calm")
	}
	b.push(api.HubMessage{Acks: []api.Ack{{Session: "s", UpTo: 1}}})
	if !b.calm() {
		t.Error("an acknowledgement alone is not calm")
	}
	b.push(api.HubMessage{Updates: []api.ShardUpdate{{Full: true}}})
	if b.calm() {
		t.Error("an update may wait")
	}
}
