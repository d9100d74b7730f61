package main

import (
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

// echo is a hub that answers every method with a message in which every field is set: it knows the API from its descriptors
// alone, so that no field and no method that is added later is forgotten.
type echo struct {
	text   func(protoreflect.FieldDescriptor) string   // what stands in a text
	answer func(method string, m protoreflect.Message) // changes an answer; nil: leaves it
	events func(from uint64) []*navev1.Event           // what Events sends
	fail   string                                      // not empty: every call fails with this text
}

func (h *echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status, Grpc-Message, Grpc-Status-Details-Bin")
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(parts[0]))
	if err != nil || len(parts) != 2 {
		w.Header().Set("Grpc-Status", "12")
		return
	}
	method := d.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(parts[1]))
	if h.fail != "" {
		h.refuse(w)
		return
	}
	if parts[1] == "Events" {
		h.stream(w, r)
		return
	}
	m := dynamicpb.NewMessage(method.Output())
	h.fill(m, 0)
	if f := m.Descriptor().Fields().ByName("next_page_token"); f != nil {
		m.Clear(f) // else the list had no end
	}
	if h.answer != nil {
		h.answer(parts[1], m)
	}
	send(w, m)
	w.Header().Set("Grpc-Status", "0")
}

func send(w http.ResponseWriter, m proto.Message) {
	raw, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(raw))), raw...))
}

// stream answers Events: all of them from a number on. The log ends at logEnd.
func (h *echo) stream(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	req := &navev1.EventsRequest{}
	if err != nil || proto.Unmarshal(raw[5:], req) != nil {
		panic("no request")
	}
	sent := uint32(0)
	for _, e := range h.events(req.GetFrom()) {
		if e.GetDelta() != nil && !req.GetDeltas() {
			continue
		}
		if e.GetDelta() == nil && req.GetLimit() > 0 && sent == req.GetLimit() {
			break
		}
		if e.GetDelta() == nil {
			sent++
		}
		send(w, e)
	}
	w.Header().Set("Grpc-Status", "0")
}

// refuse answers with an error whose every part is the text.
func (h *echo) refuse(w http.ResponseWriter) {
	detail, err := anypb.New(&errdetails.ErrorInfo{Domain: "nave.dev", Reason: "failed", Metadata: map[string]string{"field": h.fail, "op": h.fail}})
	if err != nil {
		panic(err)
	}
	raw, err := proto.Marshal(&status.Status{Code: 9, Message: h.fail, Details: []*anypb.Any{detail}})
	if err != nil {
		panic(err)
	}
	w.Header().Set("Grpc-Status", "9")
	w.Header().Set("Grpc-Message", strings.ReplaceAll(url.QueryEscape(h.fail), "+", "%20"))
	w.Header().Set("Grpc-Status-Details-Bin", encodeBin(raw))
}

// fill sets every field of a message: two items of each list, one of each map, 7 for numbers.
func (h *echo) fill(m protoreflect.Message, depth int) {
	if t, ok := m.Interface().(*dynamicpb.Message); ok && t.Descriptor().FullName() == "google.protobuf.Timestamp" {
		m.Set(m.Descriptor().Fields().ByName("seconds"), protoreflect.ValueOfInt64(timestamppb.New(testNow).Seconds+1800))
		return
	}
	if m.Descriptor().FullName() == durationName {
		m.Set(m.Descriptor().Fields().ByName("seconds"), protoreflect.ValueOfInt64(90))
		return
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case depth > 6, f.Name() == "delta":
		case f.IsMap():
			m.Mutable(f).Map().Set(protoreflect.ValueOfString(h.text(f)).MapKey(), protoreflect.ValueOfString(h.text(f)))
		case f.IsList():
			for range 2 {
				item := m.Mutable(f).List().NewElement()
				if f.Message() != nil {
					h.fill(item.Message(), depth+1)
				} else {
					item = h.scalar(f)
				}
				m.Mutable(f).List().Append(item)
			}
		case f.Message() != nil:
			h.fill(m.Mutable(f).Message(), depth+1)
		default:
			m.Set(f, h.scalar(f))
		}
	}
}

func (h *echo) scalar(f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(h.text(f))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(h.text(f)))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(7)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(7)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(7)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(7)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(2)
	}
	panic(fmt.Sprintf("field %s: its kind %v is not covered", f.FullName(), f.Kind()))
}

// newEchoBench is a bench whose hub is an echo.
func newEchoBench(t *testing.T, h *echo) *bench {
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	b := &bench{t: t, address: s.URL, dir: t.TempDir(), terminal: true, plain: true}
	cs := &client.Contexts{}
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	cs.Put(client.Context{Name: "test", Address: s.URL, CA: ca, Token: testToken})
	if err := cs.Save(filepath.Join(b.dir, "config.yaml")); err != nil {
		t.Fatal(err)
	}
	return b
}
