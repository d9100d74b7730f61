package spoke_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
)

// count is the value of a counter of the program that runs.
func (w *world) count(name string) float64 {
	w.t.Helper()
	families, err := w.metrics.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	w.t.Fatalf("there is no metric %s", name)
	return 0
}

// TestDeltasPassTheJournalBy: they go to the hub at once or nowhere, and leave nothing behind.
func TestDeltasPassTheJournalBy(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.connect()
		w.want(desired(sessionA, epoch1, 1))
		w.settle(0)
		id := workload(sessionA, epoch1, 1)
		w.attach(id)
		w.settle(0)
		size := w.j.Size()
		deltas := []api.Delta{{Session: sessionA, Source: id.Source(), Stream: "m1", Type: api.EventMessage, Text: "hel"},
			{Session: sessionA, Source: id.Source(), Stream: "m1", Type: api.EventMessage, Offset: 3, Text: "lo"}}
		w.door.Write(id, 3, deltas...)
		w.settle(0)
		w.link.Fill(true)
		w.door.Write(id, 0, deltas...)
		w.link.Fill(false)
		w.settle(0)
		w.cut()
		w.door.Write(id, 0, deltas...)
		w.connect()
		w.settle(beat)
		if diff := cmp.Diff(deltas, w.deltas); diff != "" {
			t.Errorf("sent (-want +got):\n%s", diff)
		}
		if sent, dropped := w.count("nave_spoke_deltas_total"), w.count("nave_spoke_deltas_dropped_total"); sent != 2 || dropped != 3+2+2 {
			t.Errorf("%v sent, %v dropped", sent, dropped)
		}
		if w.j.Size() != size {
			t.Errorf("the journal grew from %d to %d bytes", size, w.j.Size())
		}
	})
}
