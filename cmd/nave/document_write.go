package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
)

// documentWrite writes definitions as documents that apply takes: what a person sets, in the order of the API. With revisions
// a comment says which revision each one is.
func documentWrite(w io.Writer, ns []noun, revisions bool) error {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	for _, n := range ns {
		m := n.ProtoReflect()
		root := &yaml.Node{Kind: yaml.MappingNode}
		add := func(key string, v *yaml.Node) { root.Content = append(root.Content, textNode(key), v) }
		add("apiVersion", textNode(apiVersion))
		add("kind", textNode(string(kindOf(n).name)))
		add("metadata", messageNode(metaOf(n.GetMeta()).ProtoReflect()))
		add("spec", messageNode(m.Get(spec(n)).Message()))
		if revisions {
			root.HeadComment = fmt.Sprintf("revision %d", n.GetMeta().GetRevision())
		}
		if err := enc.Encode(root); err != nil {
			return err
		}
	}
	if err := enc.Close(); err != nil {
		return err
	}
	// What the encoder holds for printable stands in double quotes (see textNode), where escapes mean the same.
	_, err := w.Write(escape(b.Bytes(), yamlEscape))
	return err
}

// yamlEscape is how YAML writes any rune inside double quotes.
func yamlEscape(r rune) string {
	if r < 0x10000 {
		return fmt.Sprintf(`\u%04x`, r)
	}
	return fmt.Sprintf(`\U%08x`, r)
}

// messageNode renders the set fields of a message.
func messageNode(m protoreflect.Message) *yaml.Node {
	out := &yaml.Node{Kind: yaml.MappingNode}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !m.Has(f) {
			continue
		}
		out.Content = append(out.Content, textNode(string(f.Name())), fieldNode(f, m.Get(f)))
	}
	return out
}

func fieldNode(f protoreflect.FieldDescriptor, v protoreflect.Value) *yaml.Node {
	switch {
	case f.IsMap():
		out := &yaml.Node{Kind: yaml.MappingNode}
		var keys []string
		v.Map().Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
			keys = append(keys, k.String())
			return true
		})
		slices.Sort(keys)
		for _, k := range keys {
			out.Content = append(out.Content, textNode(k), scalarNode(f.MapValue(), v.Map().Get(protoreflect.ValueOfString(k).MapKey())))
		}
		return out
	case f.IsList():
		out := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range v.List().Len() {
			out.Content = append(out.Content, scalarNode(f, v.List().Get(i)))
		}
		return out
	}
	return scalarNode(f, v)
}

func scalarNode(f protoreflect.FieldDescriptor, v protoreflect.Value) *yaml.Node {
	switch f.Kind() {
	case protoreflect.MessageKind:
		if d, ok := v.Message().Interface().(*durationpb.Duration); ok {
			return textNode(d.AsDuration().String())
		}
		return messageNode(v.Message())
	case protoreflect.StringKind:
		return textNode(v.String())
	case protoreflect.BoolKind:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(v.Bool())}
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: fmt.Sprint(v.Interface())}
}

// textNode renders a text: over several lines when that shows it as it is, in quotes when a character would be lost,
// could be taken for something else, or could steer a terminal.
func textNode(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	hidden := strings.ContainsFunc(s, func(r rune) bool { return r != '\n' && steers(r) })
	switch {
	case hidden, s == "<<", strings.TrimSpace(s) != s && !strings.HasSuffix(s, "\n"), strings.HasPrefix(s, "\n"), strings.HasPrefix(s, " "):
		n.Style = yaml.DoubleQuotedStyle
	case strings.Contains(s, "\n"):
		n.Style = yaml.LiteralStyle
	}
	return n
}
