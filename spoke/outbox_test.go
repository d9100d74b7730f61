package spoke

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
)

// What is kept is what came and was not acknowledged, in order, and the array behind it is not much larger.
func TestAnOutboxForgets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st := newState()
		id, source := api.SessionID("s"), api.Source{Epoch: api.Epoch{Incarnation: 1, N: 1}, Attempt: 1}
		came, acked := uint64(0), uint64(0)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			var events []api.Event
			for range rapid.IntRange(0, 50).Draw(t, "new") {
				came++
				events = append(events, api.Event{SourceNumber: came, Text: "text"})
			}
			if st.find(id, source) == nil {
				st.outbox(id, source).acked = acked // as after the session's outboxes were dropped
			}
			if err := st.events(eventsRecord{id, source, came - uint64(len(events)) + 1, events}); err != nil {
				t.Fatal(err)
			}
			acked += rapid.Uint64Range(0, came-acked).Draw(t, "acknowledged")
			st.acked(ackedRecord{id, source, acked})
			o := st.find(id, source)
			if o == nil {
				if acked != came {
					t.Fatalf("the outbox is gone at %d of %d", acked, came)
				}
				continue
			}
			if o.acked != acked || o.last() != came {
				t.Fatalf("it has %d to %d, want %d to %d", o.acked, o.last(), acked, came)
			}
			for i, e := range o.events {
				if e.SourceNumber != acked+1+uint64(i) || e.Text != "text" {
					t.Fatalf("event %d is %+v", acked+1+uint64(i), e)
				}
			}
			if o.gone > len(o.events) {
				t.Fatalf("%d places are kept for %d events", o.gone, len(o.events))
			}
		}
	})
}
