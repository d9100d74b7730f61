package harness

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/acp"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

func piece(stream string, offset int, text string) acp.Delta {
	return acp.Delta{Stream: stream, Type: api.EventMessage, Offset: uint64(offset), Text: text}
}

func TestDeltasAreJoined(t *testing.T) {
	d := newDeltas()
	for _, p := range []acp.Delta{
		piece("m1", 0, "one "), piece("m1", 4, "two"), piece("m2", 0, "x"), piece("m2", 5, "gap"), piece("m2", 8, strings.Repeat("y", api.MaxDeltaBytes-3)), piece("m2", api.MaxDeltaBytes+5, "z"),
	} {
		d.add(p)
	}
	d.add(acp.Delta{Stream: "m2", Type: api.EventThought, Offset: api.MaxDeltaBytes + 6, Text: "other"})
	want := []*harnessv1.Delta{
		{Stream: "m1", Type: "message", Text: "one two"}, {Stream: "m2", Type: "message", Text: "x"},
		{Stream: "m2", Type: "message", Offset: 5, Text: "gap" + strings.Repeat("y", api.MaxDeltaBytes-3)},
		{Stream: "m2", Type: "message", Offset: api.MaxDeltaBytes + 5, Text: "z"}, {Stream: "m2", Type: "thought", Offset: api.MaxDeltaBytes + 6, Text: "other"},
	}
	if diff := cmp.Diff(want, d.take(), protocmp.Transform()); diff != "" {
		t.Errorf("deltas (-want +got)\n%s", diff)
	}
	if got := d.take(); len(got) != 0 {
		t.Errorf("%d are held after they were taken", len(got))
	}
}

// A full queue drops what comes, and has room again for as much as left it.
func TestDeltasAreBounded(t *testing.T) {
	d := newDeltas()
	fill := func() (bytes int) {
		for i := range 100 {
			d.add(piece("m1", i*2*api.MaxDeltaBytes, strings.Repeat("x", api.MaxDeltaBytes))) // with gaps: they are not joined
			d.add(piece("s", i, "y"))
		}
		for _, p := range d.held {
			bytes += weight(p)
		}
		return bytes
	}
	full := fill()
	if full > deltasHeld || full < deltasHeld-2*api.MaxDeltaBytes || d.bytes != full {
		t.Fatalf("%d bytes are held, by its own count %d; want near %d", full, d.bytes, deltasHeld)
	}
	d.supersede("m1")
	rest := 0
	for _, p := range d.held {
		if p.Stream == "m1" {
			t.Fatal("a superseded stream is held")
		}
		rest += weight(p)
	}
	if d.bytes != rest || rest == 0 {
		t.Fatalf("%d bytes are left by its own count, %d are", d.bytes, rest)
	}
	if again := fill(); again > deltasHeld || again < deltasHeld-2*api.MaxDeltaBytes {
		t.Fatalf("%d bytes are held the second time", again)
	}
	d.take()
	if fill(); d.bytes > deltasHeld || d.bytes < deltasHeld-2*api.MaxDeltaBytes {
		t.Fatalf("%d bytes are held after all were taken", d.bytes)
	}
}
