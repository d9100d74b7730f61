package door_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

func (s stream) deltas(ds ...*harnessv1.Delta) {
	s.t.Helper()
	s.say(&harnessv1.FromHarness{Message: &harnessv1.FromHarness_Deltas{Deltas: &harnessv1.Deltas{Deltas: ds}}})
}

func TestDeltasAreThoseOfTheHarnessThatSaysThem(t *testing.T) {
	h := &handler{}
	_, c := open(t, h, nil)
	s := attach(t, c, hello())
	s.welcome()
	s.deltas(&harnessv1.Delta{Stream: "m1", Type: "message", Offset: 3, Text: "lo"}, &harnessv1.Delta{Stream: "t1", Type: "thought", Text: "hm"})
	s.deltas(
		&harnessv1.Delta{Stream: "m1", Type: "message", Text: strings.Repeat("x", api.MaxDeltaBytes+1)},
		&harnessv1.Delta{Stream: "m1", Type: "turn.ended", Text: "x"},
		&harnessv1.Delta{Stream: "", Type: "message", Text: "x"},
		&harnessv1.Delta{Stream: strings.Repeat("m", 65), Type: "message", Text: "x"},
		&harnessv1.Delta{Stream: "m1", Type: "message"},
	)
	s.events(1)
	s.ack() // what came before has been handled
	h.mu.Lock()
	defer h.mu.Unlock()
	want := []api.Delta{{Session: id.Session, Source: id.Source(), Stream: "m1", Type: "message", Offset: 3, Text: "lo"},
		{Session: id.Session, Source: id.Source(), Stream: "t1", Type: "thought", Text: "hm"}}
	if d := cmp.Diff(want, h.deltas); d != "" || h.drops != 5 {
		t.Errorf("%d dropped\n%s", h.drops, d)
	}
}

// TestFloodOfDeltasIsDropped: too many of them, in number or in bytes, hold up nothing.
func TestFloodOfDeltasIsDropped(t *testing.T) {
	for _, tt := range []struct {
		what        string
		messages    int
		deltas      int // of a message
		bytes       int // of a delta
		least, most int // that pass; the flood lasts a while, in which more may pass
	}{
		{"in number", 100, 100, 1, 200, 5000},
		{"in bytes", 1, 100, api.MaxDeltaBytes, 16, 16},
	} {
		t.Run(tt.what, func(t *testing.T) {
			h := &handler{}
			_, c := open(t, h, nil)
			s := attach(t, c, hello())
			s.welcome()
			for i := range tt.messages {
				var ds []*harnessv1.Delta
				for range tt.deltas {
					ds = append(ds, &harnessv1.Delta{Stream: "m1", Type: "message", Text: strings.Repeat("x", tt.bytes)})
				}
				s.deltas(ds...)
				s.events(uint64(i) + 1)
			}
			for s.ack() < uint64(tt.messages) {
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			if n := len(h.deltas); n < tt.least || n > tt.most || n+h.drops != tt.messages*tt.deltas || len(h.events) != tt.messages {
				t.Errorf("%d deltas passed, %d were dropped, %d events came", n, h.drops, len(h.events))
			}
		})
	}
}
