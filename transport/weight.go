package transport

import (
	"fmt"
	"reflect"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec below
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/nave-dev/nave/transport/linkv1"
)

// What decoding may allocate. An element of a list that takes two bytes to send is a struct of a hundred and more.
const (
	light      = 64 << 10 // bytes of a message that is decoded whatever it is made of
	maxDecoded = 16 << 20 // bytes that any message may take. Short events with an attribute take 15 times their size, in 512 KiB at most
	maxFactor  = 8        // or so many for each byte read. A hello takes 5 times its size
)

// What decoding allocates beside the structs, in bytes.
const (
	elementWeight = 24  // of an element in a list that grows: pointers, or numbers one by one
	textWeight    = 40  // of a text in a list
	entryWeight   = 320 // of an entry in a map, most of it the map's
	numberWeight  = 8   // of a number in a packed list, per byte: the shortest ones have one
)

// scale is what weighing needs to know of one kind of message.
type scale struct {
	own    int64 // of its struct
	fields map[protowire.Number]scaledField
}

type scaledField struct {
	message *scale // nil of texts and numbers
	each    int64  // beyond the message or the text
	packed  bool   // numbers in a list
}

// newScale prepares a message and what is in it. None of the link's messages contains its own kind.
func newScale(d protoreflect.MessageDescriptor) *scale {
	s := &scale{own: entryWeight, fields: map[protowire.Number]scaledField{}}
	if !d.IsMapEntry() {
		t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
		if err != nil {
			panic("transport: " + err.Error()) // generated code that is linked registers its messages
		}
		s.own = int64(reflect.TypeOf(t.Zero().Interface()).Elem().Size())
	}
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		field := scaledField{}
		switch k := f.Kind(); {
		case k == protoreflect.MessageKind:
			field.message = newScale(f.Message())
			if f.IsList() {
				field.each = elementWeight
			}
		case k == protoreflect.StringKind || k == protoreflect.BytesKind:
			if f.IsList() {
				field.each = textWeight
			}
		case f.IsList():
			field.each, field.packed = elementWeight, true
		}
		s.fields[f.Number()] = field
	}
	return s
}

// weigh is about what decoding b allocates, rather more than less. It stops when that is past most.
func (s *scale) weigh(b []byte, most int64) (int64, error) {
	sum := s.own
	for len(b) > 0 && sum <= most {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return 0, protowire.ParseError(n)
		}
		size := protowire.ConsumeFieldValue(number, kind, b[n:])
		if size < 0 {
			return 0, protowire.ParseError(size)
		}
		value := b[n : n+size]
		b = b[n+size:]
		f, known := s.fields[number]
		sum += f.each
		switch content, _ := protowire.ConsumeBytes(value); {
		case !known:
			sum += 3 * int64(n+size) // kept as it is, in a slice that grows
		case kind != protowire.BytesType:
		case f.message != nil:
			inner, err := f.message.weigh(content, most-sum)
			if err != nil {
				return 0, err
			}
			sum += inner
		case f.packed:
			sum += numberWeight * int64(len(content))
		default:
			sum += int64(len(content))
		}
	}
	return sum, nil
}

// scales are of the messages that a spoke sends.
var scales = scalesOf(&linkv1.SpokeMessage{}, &linkv1.BeatRequest{}, &linkv1.SaveRequest{}, &linkv1.FetchRequest{}, &linkv1.SignalRequest{}, &linkv1.EndedRequest{})

func scalesOf(ms ...proto.Message) map[reflect.Type]*scale {
	out := map[reflect.Type]*scale{}
	for _, m := range ms {
		out[reflect.TypeOf(m)] = newScale(m.ProtoReflect().Descriptor())
	}
	return out
}

// weighing is the codec of the hub: it looks at what a message would take before it decodes it.
type weighing struct{ encoding.CodecV2 }

func newWeighing() weighing { return weighing{encoding.GetCodecV2("proto")} }

// Unmarshal implements encoding.CodecV2.
func (w weighing) Unmarshal(data mem.BufferSlice, v any) error {
	s := scales[reflect.TypeOf(v)]
	if data.Len() <= light || s == nil {
		return w.CodecV2.Unmarshal(data, v)
	}
	buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buf.Free()
	most := max(maxDecoded, maxFactor*int64(buf.Len()))
	switch sum, err := s.weigh(buf.ReadOnlyData(), most); {
	case err != nil:
		return err
	case sum > most:
		return fmt.Errorf("a message of %d bytes would take more than %d bytes to decode", buf.Len(), most)
	}
	return w.CodecV2.Unmarshal(mem.BufferSlice{buf}, v)
}
