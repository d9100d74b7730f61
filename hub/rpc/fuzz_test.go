package rpc

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/nave-dev/nave/api"
)

// requests are the messages of all methods that take one, in the order of their names.
func requests(f *testing.F) (out []protoreflect.MessageType) {
	protoregistry.GlobalFiles.RangeFilesByPackage("nave.v1", func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				out = append(out, dynamicpb.NewMessageType(methods.Get(j).Input()))
			}
		}
		return true
	})
	if len(out) < 20 {
		f.Fatalf("%d methods", len(out))
	}
	return out
}

// FuzzJSONRequest: a body that a person sends to any method is refused, or is a message whose JSON and whose bytes say the
// same. A field that does not exist is refused, and an empty body says what to send.
func FuzzJSONRequest(f *testing.F) {
	all := requests(f)
	for i := range all {
		f.Add(uint16(i), "{}")
		f.Add(uint16(i), `{"organization":"default","name":"a","pageSize":10,"pageToken":"x","agent":"a","key":"k","payload":"cA==","etag":"7","sessionId":"s"}`)
	}
	for _, s := range []string{"", "null", "[]", `{"nope":1}`, `{"agent":"a","agent":"b"}`, `{"payload":"!"}`, "\xff", strings.Repeat("[", 20_000), `{"agent":` + strings.Repeat(`{"spec":`, 100), `{"pageSize":1e100}`} {
		f.Add(uint16(7), s)
	}
	codec := strictJSON{"json"}
	f.Fuzz(func(t *testing.T, n uint16, text string) {
		kind := all[int(n)%len(all)]
		m := kind.New().Interface()
		if err := codec.Unmarshal([]byte(text), m); err != nil {
			if text == "" && api.CodeOf(err) != api.CodeInvalid {
				t.Errorf("an empty body is refused as %s", api.CodeOf(err))
			}
			if len(err.Error()) > 2000+2*len(text) {
				t.Errorf("an error of %d bytes for %d", len(err.Error()), len(text))
			}
			return
		}
		again, err := codec.Marshal(m)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		back := kind.New().Interface()
		if err := codec.Unmarshal(again, back); err != nil || !proto.Equal(m, back) {
			t.Errorf("%s became %s, %v", text, again, err)
		}
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if max := 16*len(text) + 1024; len(b) > max || len(again) > max {
			t.Errorf("%d bytes became %d in protobuf and %d in JSON", len(text), len(b), len(again))
		}
		loose := kind.New().Interface()
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal([]byte(text), loose); err != nil || !proto.Equal(m, loose) {
			t.Errorf("%s is another message when unknown fields are left out: %v", text, err)
		}
	})
}

// FuzzBearer: the header of a caller is one token, or is refused without being repeated.
func FuzzBearer(f *testing.F) {
	for _, s := range []string{"Bearer nave_x", "bearer  x ", "Bearer", "Basic x", "", "Bearer \x00", "Bearer a b"} {
		f.Add(s, "", 1)
		f.Add(s, s, 2)
	}
	f.Fuzz(func(t *testing.T, first, second string, n int) {
		headers := []string{first, second}[:min(max(n, 0), 2)]
		token, err := bearer(headers)
		if err != nil {
			if api.CodeOf(err) != api.CodeUnauthenticated || len(first) > 12 && strings.Contains(err.Error(), first) {
				t.Errorf("refused as %s: %v", api.CodeOf(err), err)
			}
			return
		}
		if len(headers) == 2 || token != strings.TrimSpace(token) || len(headers) == 1 && (!strings.HasSuffix(strings.TrimSpace(first), token) || !strings.EqualFold(first[:6], "bearer")) {
			t.Errorf("%q holds the token %q", headers, token)
		}
	})
}
