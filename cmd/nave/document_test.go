package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
)

// texts are such as YAML likes to take for something else, beside any text at all.
func texts() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom([]string{"", "true", "yes", "null", "~", "1.10", "0644", "2030-01-02", "<<", "- a", "a: b", "# c", "{", "a\n", "\na", " a\n b\n", "a\n\n", "\ta", "a \nb", "'", "\"", "\x1b[2J", "\u009b2J", "\u2028", "\ufeff", "a\r\nb", "---", "...", "a #b", "&a", "*a", "!x", "|", ">", "%"}),
		rapid.String(),
		rapid.StringOf(rapid.RuneFrom([]rune("ab \n\t#:-'\"\\"))),
	)
}

// fill sets random fields of a message along its descriptor.
func fill(t *rapid.T, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if rapid.IntRange(0, 2).Draw(t, "set") == 0 {
			continue
		}
		switch {
		case f.IsMap():
			for k, v := range rapid.MapOfN(texts(), texts(), 0, 3).Draw(t, "map") {
				m.Mutable(f).Map().Set(protoreflect.ValueOfString(k).MapKey(), protoreflect.ValueOfString(v))
			}
		case f.IsList():
			for range rapid.IntRange(0, 3).Draw(t, "length") {
				if f.Message() != nil {
					v := m.Mutable(f).List().NewElement()
					fill(t, v.Message(), depth+1)
					m.Mutable(f).List().Append(v)
				} else {
					m.Mutable(f).List().Append(scalar(t, f))
				}
			}
		case f.Message() != nil && f.Message().FullName() != durationName:
			fill(t, m.Mutable(f).Message(), depth+1)
		default:
			m.Set(f, scalar(t, f))
		}
	}
}

func scalar(t *rapid.T, f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(texts().Draw(t, "text"))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rapid.Bool().Draw(t, "bool"))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(rapid.Int32().Draw(t, "int32"))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(rapid.Int64().Draw(t, "int64"))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(rapid.Uint32().Draw(t, "uint32"))
	case protoreflect.MessageKind:
		d := durationpb.Duration{Seconds: rapid.Int64Range(0, 1<<32).Draw(t, "s"), Nanos: rapid.Int32Range(0, 999_999_999).Draw(t, "ns")}
		return protoreflect.ValueOfMessage(d.ProtoReflect())
	}
	t.Fatalf("field %s: its kind %v is not covered", f.FullName(), f.Kind())
	return protoreflect.Value{}
}

func TestDocumentsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.SampledFrom(kinds).Draw(t, "kind")
		var want []noun
		for range rapid.IntRange(1, 3).Draw(t, "documents") {
			n := k.empty()
			m := n.ProtoReflect()
			m.Set(m.Descriptor().Fields().ByName("meta"), protoreflect.ValueOfMessage((&navev1.Meta{
				Name: rapid.StringMatching(`[a-z0-9]{1,8}`).Draw(t, "name"), Labels: map[string]string{"a": rapid.SampledFrom([]string{"", "1", "true", "x"}).Draw(t, "label")}, Revision: 3,
			}).ProtoReflect()))
			fill(t, m.Mutable(spec(n)).Message(), 0)
			want = append(want, n)
		}
		var b bytes.Buffer
		if err := documentWrite(&b, want, true); err != nil {
			t.Fatal(err)
		}
		if i := strings.IndexFunc(b.String(), func(r rune) bool { return r != '\n' && r != utf8.RuneError && steers(r) }); i >= 0 {
			t.Fatalf("a character that steers a terminal at byte %d:\n%q", i, b.String())
		}
		got, err := readDocuments("x", &b)
		if err != nil || len(got) != len(want) {
			t.Fatalf("%d of %d documents, %v", len(got), len(want), err)
		}
		for i := range want {
			w := proto.Clone(want[i]).(noun)
			w.GetMeta().Revision = 0
			if !proto.Equal(w, got[i].noun) {
				t.Fatalf("document %d: got %v, want %v", i, got[i].noun, w)
			}
		}
	})
}

// TestReaderAgreesWithProtoJSON reads JSON, which is YAML too, and compares with the library's own reader.
func TestReaderAgreesWithProtoJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := &navev1.Agent{}
		fill(t, a.ProtoReflect().Mutable(spec(a)).Message(), 0)
		text, err := protojson.MarshalOptions{UseProtoNames: rapid.Bool().Draw(t, "proto names")}.Marshal(a.GetSpec())
		if err != nil {
			t.Fatal(err)
		}
		text = escape(text, yamlEscape) // JSON allows some characters raw that YAML does not
		docs, err := readDocuments("x", strings.NewReader(`{"apiVersion": "nave.dev/v1", "kind": "Agent", "metadata": {"name": "a"}, "spec": `+string(text)+`}`))
		if err != nil {
			t.Fatal(err, string(text))
		}
		if !proto.Equal(a.GetSpec(), docs[0].noun.(*navev1.Agent).GetSpec()) {
			t.Fatalf("got %v, want %v", docs[0].noun, a)
		}
	})
}

// FuzzReadDocuments: whatever is read, the answer is documents that pass their checks, or an error of ours.
func FuzzReadDocuments(f *testing.F) {
	for _, s := range []string{"", "---\n---\n", "a: &a [*a]", "? {}\n: 1", "apiVersion: nave.dev/v1\nkind: Agent\nmetadata: {name: a}\nspec: &s {harness: *s}", "!!binary x", "\xff", "a: 1\na: 2", "%YAML 9", "&a *a", "- |9\n x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		docs, err := readDocuments("x", strings.NewReader(s))
		var e *api.Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("not an api.Error: %v", err)
		}
		for _, d := range docs {
			if err := api.ValidateName("name", d.noun.GetMeta().GetName()); err != nil || d.kind == nil {
				t.Fatalf("%v was let through: %v", d, err)
			}
		}
	})
}

func TestReaderIsBounded(t *testing.T) {
	bomb := "apiVersion: nave.dev/v1\nkind: Environment\nmetadata: {name: a}\nspec:\n  files:\n  - &a {path: x, content: &c \"" + strings.Repeat("x", 1000) + "\"}\n" + strings.Repeat("  - *a\n", 100_000)
	for _, tc := range []struct{ name, text, want string }{
		{"aliases", bomb, "nodes"},
		{"size", strings.Repeat("#", maxSource+1), "split the file"},
		{"documents", strings.Repeat("---\n", maxDocuments+2), "split the file"},
		{"depth", strings.Repeat("[", 20_000), "depth"},
	} {
		if _, err := readDocuments("x", strings.NewReader(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %.200v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestCleanLetsNothingThrough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")) + texts().Draw(t, "text")
		for _, lines := range []bool{false, true} {
			got := clean(raw, lines)
			bad := func(r rune) bool {
				return r != utf8.RuneError && steers(r) && (!lines || r != '\n' && r != '\t')
			}
			if !utf8.ValidString(got) || strings.ContainsFunc(got, bad) {
				t.Fatalf("%q became %q", raw, got)
			}
		}
	})
}

func TestJSONIsSafeAndWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := &navev1.Event{Text: texts().Draw(t, "text"), Number: 7, Attributes: map[string]string{"b": "\u009b", "a": "\U000e0041"}}
		for _, indent := range []bool{false, true} {
			raw, err := encodeJSON(want, indent)
			got := &navev1.Event{}
			if err != nil || protojson.Unmarshal(raw, got) != nil || !proto.Equal(want, got) {
				t.Fatalf("%v: %s", err, raw)
			}
			if strings.ContainsFunc(string(raw), func(r rune) bool { return r != '\n' && r != utf8.RuneError && steers(r) }) {
				t.Fatalf("a character that steers: %q", raw)
			}
			if !indent && bytes.Contains(raw, []byte("\n")) {
				t.Fatalf("more than one line: %q", raw)
			}
		}
	})
}
