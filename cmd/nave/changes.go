package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/aymanbagabas/go-udiff"

	"github.com/nave-dev/nave/api/navev1"
)

// withMeta is a copy of a noun with another meta.
func (k *kind) withMeta(n noun, meta *navev1.Meta) noun {
	out := proto.Clone(n).(noun)
	m := out.ProtoReflect()
	m.Set(m.Descriptor().Fields().ByName("meta"), protoreflect.ValueOfMessage(meta.ProtoReflect()))
	return out
}

// changes lists the paths of the fields in which two revisions differ: labels first, then the spec in the order of the API.
func changes(old, now noun) []string {
	var paths []string
	keys := maps.Clone(old.GetMeta().GetLabels())
	if keys == nil {
		keys = map[string]string{}
	}
	maps.Copy(keys, now.GetMeta().GetLabels())
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		x, had := old.GetMeta().GetLabels()[k]
		y, has := now.GetMeta().GetLabels()[k]
		if had != has || x != y {
			paths = append(paths, "labels["+k+"]")
		}
	}
	x, y := old.ProtoReflect(), now.ProtoReflect()
	return append(paths, changed(x.Get(spec(old)).Message(), y.Get(spec(now)).Message(), "")...)
}

func changed(x, y protoreflect.Message, path string) (paths []string) {
	fields := x.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		at := join(path, string(f.Name()))
		a, b := x.Get(f), y.Get(f)
		switch {
		case x.Has(f) == y.Has(f) && a.Equal(b):
		case f.IsList():
			paths = append(paths, changedList(f, a.List(), b.List(), at)...)
		case f.Message() != nil && !f.IsMap() && f.Message().FullName() != durationName && x.Has(f) && y.Has(f):
			paths = append(paths, changed(a.Message(), b.Message(), at)...)
		default:
			paths = append(paths, at)
		}
	}
	return paths
}

// changedList names the items that differ when there are as many as before, else the list.
func changedList(f protoreflect.FieldDescriptor, a, b protoreflect.List, path string) (paths []string) {
	if a.Len() != b.Len() {
		return []string{path}
	}
	for i := range a.Len() {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case a.Get(i).Equal(b.Get(i)):
		case f.Message() != nil:
			paths = append(paths, changed(a.Get(i).Message(), b.Get(i).Message(), at)...)
		default:
			paths = append(paths, at)
		}
	}
	return paths
}

// compare renders the difference of two definitions as documents, in the unified form; "" when there is none. A nil one is
// one that is not there.
func compare(k *kind, old, now noun, oldName, newName string) (string, error) {
	var text [2]strings.Builder
	for i, n := range []noun{old, now} {
		if n == nil {
			continue
		}
		if err := documentWrite(&text[i], []noun{n}, false); err != nil {
			return "", err
		}
	}
	name := k.singular() + "/"
	for _, n := range []noun{old, now} {
		if n != nil {
			name = k.singular() + "/" + clean(n.GetMeta().GetName(), false)
		}
	}
	return udiff.Unified(name+" "+oldName, name+" "+newName, text[0].String(), text[1].String()), nil
}

// printDiff prints a difference; documents hold nothing that steers a terminal.
func (a *app) printDiff(text string) {
	for _, l := range strings.SplitAfter(text, "\n") {
		body := strings.TrimSuffix(l, "\n")
		colour := ""
		switch {
		case strings.HasPrefix(l, "+++"), strings.HasPrefix(l, "---"):
			colour = bold
		case strings.HasPrefix(l, "+"):
			colour = green
		case strings.HasPrefix(l, "-"):
			colour = red
		case strings.HasPrefix(l, "@@"):
			colour = dim
		}
		fmt.Fprint(a.out, a.tint(colour, body)+l[len(body):])
	}
}
