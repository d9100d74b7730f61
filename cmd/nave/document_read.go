package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/nave-dev/nave/api"
)

// reader fills wire messages from YAML along their descriptors. It knows the line of everything, and refuses what the
// message does not have, what is there twice, and what YAML took for another type than the field's.
type reader struct {
	source string
	only   []string // the fields of the message at the top that may be set; nil: all
	nodes  int
	depth  int
}

// pair is an entry of a mapping.
type pair struct{ key, value *yaml.Node }

func protoName(s string) protoreflect.Name { return protoreflect.Name(s) }

func (r *reader) bad(n *yaml.Node, field, format string, args ...any) error {
	return r.at(n, api.Invalid(field, format, args...))
}

// at adds where it was to an error.
func (r *reader) at(n *yaml.Node, err error) error {
	e := &api.Error{Code: api.CodeOf(err), Op: fmt.Sprintf("%s, line %d", r.source, n.Line), Field: api.FieldOf(err), Err: err}
	var inner *api.Error
	if errors.As(err, &inner) {
		e.Err = inner.Err
	}
	return e
}

// enter resolves an alias and counts, so that no document costs more than its bound.
func (r *reader) enter(n *yaml.Node, path string) (*yaml.Node, error) {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	if r.nodes++; r.nodes > maxNodes {
		return nil, r.bad(n, path, "more than %d nodes: make the document smaller", maxNodes)
	}
	if r.depth > maxDepth {
		return nil, r.bad(n, path, "nested deeper than %d: an anchor may hold itself", maxDepth)
	}
	return n, nil
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// mapping returns the entries of a mapping whose keys are words.
func (r *reader) mapping(n *yaml.Node, path string) (map[string]pair, error) {
	n, err := r.enter(n, path)
	if err != nil {
		return nil, err
	}
	if n.Kind != yaml.MappingNode || n.ShortTag() != "!!map" {
		return nil, r.bad(n, path, "is %s: want fields with values", describe(n))
	}
	out := make(map[string]pair, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.ShortTag() == "!!merge" {
			return nil, r.bad(k, path, "merge keys (<<) are not known: write the fields out, or use an alias for a whole value")
		}
		k, err := r.enter(k, path)
		if err != nil {
			return nil, err
		}
		if k.Kind != yaml.ScalarNode || k.ShortTag() != "!!str" {
			return nil, r.bad(k, path, "the key %q is %s: put it in quotes", k.Value, describe(k))
		}
		if first, twice := out[k.Value]; twice {
			return nil, r.bad(k, join(path, k.Value), "is there already, in line %d: remove one", first.key.Line)
		}
		out[k.Value] = pair{k, v}
	}
	return out, nil
}

// word returns a field of the envelope.
func (r *reader) word(n *yaml.Node, parts map[string]pair, name string) (string, error) {
	p, ok := parts[name]
	if !ok {
		return "", r.bad(n, name, "is missing")
	}
	return r.str(p.value, name)
}

// message fills m from a mapping. An entry without a value leaves its field unset.
func (r *reader) message(n *yaml.Node, m protoreflect.Message, path string) error {
	only := r.only
	r.only = nil
	r.depth++
	defer func() { r.depth-- }()
	entries, err := r.mapping(n, path)
	if err != nil {
		return err
	}
	seen := map[protoreflect.Name]string{}
	for _, k := range sortedByLine(entries) {
		p, at := entries[k], join(path, k)
		f := m.Descriptor().Fields().ByName(protoName(k))
		if f == nil {
			f = m.Descriptor().Fields().ByJSONName(k)
		}
		switch {
		case f == nil:
			return r.bad(p.key, at, "is not a field: use %s", fieldNames(m.Descriptor(), only))
		case only != nil && !slices.Contains(only, string(f.Name())):
			return r.bad(p.key, at, "is set by the hub: leave it out")
		case seen[f.Name()] != "":
			return r.bad(p.key, at, "is there already, as %s: remove one", seen[f.Name()])
		}
		seen[f.Name()] = k
		if isNull(p.value) {
			continue
		}
		if err := r.field(p.value, m, f, at); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) field(n *yaml.Node, m protoreflect.Message, f protoreflect.FieldDescriptor, path string) error {
	switch {
	case f.IsMap():
		entries, err := r.mapping(n, path)
		if err != nil {
			return err
		}
		out := m.Mutable(f).Map()
		for _, k := range sortedByLine(entries) {
			v, err := r.scalar(entries[k].value, f.MapValue(), fmt.Sprintf("%s[%s]", path, k))
			if err != nil {
				return err
			}
			out.Set(protoreflect.ValueOfString(k).MapKey(), v)
		}
		return nil
	case f.IsList():
		return r.list(n, m.Mutable(f).List(), f, path)
	case f.Message() != nil && f.Message().FullName() != durationName:
		return r.message(n, m.Mutable(f).Message(), path)
	}
	v, err := r.scalar(n, f, path)
	if err == nil {
		m.Set(f, v)
	}
	return err
}

func (r *reader) list(n *yaml.Node, out protoreflect.List, f protoreflect.FieldDescriptor, path string) error {
	n, err := r.enter(n, path)
	if err != nil {
		return err
	}
	if n.Kind != yaml.SequenceNode || n.ShortTag() != "!!seq" {
		return r.bad(n, path, "is %s: want a list", describe(n))
	}
	r.depth++
	defer func() { r.depth-- }()
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		if f.Message() != nil {
			v := out.NewElement()
			if err := r.message(item, v.Message(), at); err != nil {
				return err
			}
			out.Append(v)
			continue
		}
		v, err := r.scalar(item, f, at)
		if err != nil {
			return err
		}
		out.Append(v)
	}
	return nil
}

var durationName = (*durationpb.Duration)(nil).ProtoReflect().Descriptor().FullName()

// scalar reads one value of the field's type.
func (r *reader) scalar(n *yaml.Node, f protoreflect.FieldDescriptor, path string) (protoreflect.Value, error) {
	none := protoreflect.Value{}
	if f.Message() != nil {
		d, err := r.duration(n, path)
		if err != nil {
			return none, err
		}
		return protoreflect.ValueOfMessage(d.ProtoReflect()), nil
	}
	if f.Kind() == protoreflect.StringKind {
		s, err := r.str(n, path)
		return protoreflect.ValueOfString(s), err
	}
	n, err := r.enter(n, path)
	if err != nil {
		return none, err
	}
	wrong := func(want string) (protoreflect.Value, error) {
		return none, r.bad(n, path, "is %s: want %s", describe(n), want)
	}
	switch f.Kind() {
	case protoreflect.BoolKind:
		var v bool
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" || n.Decode(&v) != nil {
			return wrong("true or false")
		}
		return protoreflect.ValueOfBool(v), nil
	case protoreflect.Int32Kind:
		var v int32
		if !number(n, &v) {
			return wrong("a whole number of 32 bits")
		}
		return protoreflect.ValueOfInt32(v), nil
	case protoreflect.Int64Kind:
		var v int64
		if !number(n, &v) {
			return wrong("a whole number of 64 bits")
		}
		return protoreflect.ValueOfInt64(v), nil
	case protoreflect.Uint32Kind:
		var v uint32
		if !number(n, &v) {
			return wrong("a whole number of 32 bits that is not negative")
		}
		return protoreflect.ValueOfUint32(v), nil
	}
	return none, r.bad(n, path, "cannot be written in YAML: its type %v is not known to this program", f.Kind())
}

func number(n *yaml.Node, out any) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!int" && n.Decode(out) == nil
}

// str reads a text. What YAML takes for something else has to be quoted, so that 1.10 does not become 1.1.
func (r *reader) str(n *yaml.Node, path string) (string, error) {
	n, err := r.enter(n, path)
	if err != nil {
		return "", err
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() != "!!str" && n.ShortTag() != "!!null" {
		return "", r.bad(n, path, "%s is %s to YAML: put it in quotes", strconv.Quote(n.Value), describe(n))
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		return "", r.bad(n, path, "is %s: want a text", describe(n))
	}
	return n.Value, nil
}

// duration reads "90s", "1h30m" and the like.
func (r *reader) duration(n *yaml.Node, path string) (proto.Message, error) {
	n, err := r.enter(n, path)
	if err != nil {
		return nil, err
	}
	d, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" || err != nil {
		return nil, r.bad(n, path, "is %s: want a duration with its unit, such as 90s, 5m or 1h30m", describe(n))
	}
	return durationpb.New(d), nil
}

// describe says what a node is.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	switch n.ShortTag() {
	case "!!null":
		return "empty"
	case "!!bool":
		return "true or false"
	case "!!int", "!!float":
		return "the number " + n.Value
	case "!!timestamp":
		return "a date"
	case "!!str":
		return fmt.Sprintf("%.60q", n.Value)
	}
	return "of type " + n.ShortTag()
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func sortedByLine(entries map[string]pair) []string {
	keys := make([]string, 0, len(entries))
	for k := range entries {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int {
		x, y := entries[a].key, entries[b].key
		return cmp.Or(x.Line-y.Line, x.Column-y.Column)
	})
	return keys
}

func fieldNames(d protoreflect.MessageDescriptor, only []string) string {
	if only != nil {
		return strings.Join(only, ", ")
	}
	var names []string
	for i := range d.Fields().Len() {
		names = append(names, string(d.Fields().Get(i).Name()))
	}
	return strings.Join(names, ", ")
}
