package transport

import (
	"bytes"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/transport/linkv1"
)

// allocated is what f allocates, in bytes, garbage included.
func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

func decode(v proto.Message, b []byte) error {
	return newWeighing().Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, v)
}

// elements is a field that is sent many times, as often as it fits into most bytes, in messages around it.
func elements(content []byte, most int, path ...protowire.Number) []byte {
	last := path[len(path)-1]
	one := protowire.AppendBytes(protowire.AppendTag(nil, last, protowire.BytesType), content)
	b := bytes.Repeat(one, (most-64)/len(one))
	for i := len(path) - 2; i >= 0; i-- {
		b = protowire.AppendBytes(protowire.AppendTag(nil, path[i], protowire.BytesType), b)
	}
	return b
}

// worst are messages of elements that take few bytes to send and many to keep, by their names.
func worst(most int) map[string][]byte {
	var entries []byte // of a map: keys that differ
	for i := 0; len(entries) < most-64; i++ {
		key := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), strconv.FormatInt(int64(i), 36))
		entries = protowire.AppendBytes(protowire.AppendTag(entries, 7, protowire.BytesType), key)
	}
	const inEvent = 128 // around a content
	return map[string][]byte{
		"held":               elements(nil, most, 2),
		"held with an epoch": elements([]byte{0x12, 0}, most, 2),
		"held of a hello":    elements(nil, most, 1, 8),
		"positions":          elements([]byte{0x12, 0}, most, 1, 9),
		"batches":            elements([]byte{0x12, 2, 0x0a, 0}, most, 4),
		"events":             elements(nil, most, 4, 3),
		"events with a time": elements([]byte{0x1a, 0}, most, 4, 3),
		"deltas":             elements([]byte{0x12, 2, 0x0a, 0}, most, 5),
		"flavors":            elements(nil, most, 3, 1),
		"missing":            elements(nil, most, 3, 3),
		"attributes":         elements(elements(entries, len(entries)+inEvent, 3), len(entries)+2*inEvent, 4),
		"unknown":            elements(nil, most, 99),
		"numbers one by one": elements(bytes.Repeat([]byte{0x28, 1}, (most-2*inEvent)/2), most, 4, 3),
		"numbers":            elements(bytes.Repeat([]byte{1}, most-2*inEvent), most, 4, 3, 5),
	}
}

// TestWorstMessages: whatever a spoke sends, decoding allocates no more than about so many times what was read.
func TestWorstMessages(t *testing.T) {
	refused := 0
	for name, b := range worst(maxDecoded / maxFactor) {
		var free, weighed linkv1.SpokeMessage
		var err error
		unbounded := allocated(func() { err = proto.Unmarshal(b, &free) })
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		took := allocated(func() { err = decode(&weighed, b) })
		t.Logf("%-20s %d bytes: decoding takes %5.1f times as much, at the hub %4.1f times", name, len(b), float64(unbounded)/float64(len(b)), float64(took)/float64(len(b)))
		if took > maxDecoded+2*int64(len(b)) { // the whole of it in one piece, and lists that grow
			t.Errorf("%s: %d bytes take %d to decode", name, len(b), took)
		}
		if err != nil {
			refused++
		}
	}
	if refused < 8 {
		t.Errorf("%d messages were refused, want those of small elements at least", refused)
	}
}

// TestWhatSpokesSendIsLight: the largest messages that a spoke makes are taken, with room to spare.
func TestWhatSpokesSendIsLight(t *testing.T) {
	hello := api.Hello{ProtocolMin: 1, ProtocolMax: 1, Boot: "b", Journal: "j"}
	var said api.SpokeMessage
	for i := range 20000 {
		h := api.Held{Session: api.SessionID(strings.Repeat("0", 26)), Epoch: fuzzSource.Epoch, Attempt: 1, State: api.HeldIdle, Seen: uint64(i), Number: uint64(i)}
		hello.Held = append(hello.Held, h)
		if i < 1000 {
			said.Held = append(said.Held, h)
		}
	}
	for shard := range api.Shards {
		hello.Positions = append(hello.Positions, api.Position{Shard: api.Shard(shard), Head: fuzzPosition.Head})
	}
	batch := api.EventBatch{Session: hello.Held[0].Session, Source: fuzzSource}
	for i := range 3200 { // 512 KiB, as a spoke counts them
		batch.Events = append(batch.Events, api.Event{SourceNumber: uint64(i), Type: api.EventMessage, Time: time.Unix(1700000000, 5e8), Attributes: map[string]string{"stream": "1"}})
	}
	for name, m := range map[string]proto.Message{"a hello of 20,000 sessions": &linkv1.SpokeMessage{Hello: helloTo(hello)}, "1,000 sessions": spokeMessageTo(said),
		"3,200 short events": spokeMessageTo(api.SpokeMessage{Events: []api.EventBatch{batch}})} {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		weight, err := scales[reflect.TypeFor[*linkv1.SpokeMessage]()].weigh(b, 1<<40)
		t.Logf("%s: %d bytes, %.1f times as much to decode", name, len(b), float64(weight)/float64(len(b)))
		if err != nil || weight > max(maxDecoded, maxFactor*int64(len(b))) || len(b) > maxFromSpoke {
			t.Errorf("%s: %d bytes weigh %d: %v", name, len(b), weight, err)
		}
		if err := decode(&linkv1.SpokeMessage{}, b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func BenchmarkWeigh(b *testing.B) {
	content := worst(1 << 20)["events with a time"]
	for b.Loop() {
		_, _ = scales[reflect.TypeFor[*linkv1.SpokeMessage]()].weigh(content, 1<<40)
	}
}
