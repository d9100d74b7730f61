package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

// noun is a definition on the wire.
type noun interface {
	proto.Message
	GetMeta() *navev1.Meta
}

// kind is what the commands need to know about a kind of definition.
type kind struct {
	name      api.Kind
	words     []string // how it is named on the command line; the first is printed, the second is the plural
	header    []string // its own columns of the table
	cells     func(noun) []string
	empty     func() noun
	refs      []reference
	get       func(context.Context, *client.Client, *navev1.GetRequest) (noun, error)
	list      func(context.Context, *client.Client, *navev1.ListRequest) ([]noun, string, error)
	revisions func(context.Context, *client.Client, *navev1.ListRevisionsRequest) ([]noun, string, error) // latest first
	page      func([]noun) proto.Message                                                                  // the answer of a list, for programs
	put       func(ctx context.Context, c *client.Client, n noun, dryRun bool) (noun, navev1.Outcome, error)
	delete    func(context.Context, *client.Client, *navev1.DeleteRequest) (*navev1.DeleteResponse, error)
}

// reference is a field of a spec that names a definition of another kind.
type reference struct {
	field string // its path in the spec
	kind  *kind
}

// kinds are in the order in which documents are applied.
var kinds = []*kind{environmentKind, policyKind, agentKind, grantKind}

func (k *kind) singular() string { return k.words[0] }
func (k *kind) plural() string   { return k.words[1] }

// kindNamed finds a kind by a word of the command line.
func kindNamed(word string) (*kind, error) {
	for _, k := range kinds {
		if slices.Contains(k.words, strings.ToLower(word)) {
			return k, nil
		}
	}
	return nil, usage("%q is not a kind: use %s", word, strings.Join(kindWords(), ", "))
}

// kindOf finds the kind of a noun.
func kindOf(n noun) *kind {
	name := n.ProtoReflect().Descriptor().Name()
	return kinds[slices.IndexFunc(kinds, func(k *kind) bool { return string(k.name) == string(name) })]
}

func kindWords() []string {
	var out []string
	for _, k := range kinds {
		out = append(out, k.plural())
	}
	return out
}

// rank is the kind's place in the order of application.
func (k *kind) rank() int { return slices.Index(kinds, k) }

// spec is the descriptor of a noun's spec.
func spec(n noun) protoreflect.FieldDescriptor {
	return n.ProtoReflect().Descriptor().Fields().ByName("spec")
}

// outcomeWord is the last word of an outcome's name, in lower case.
func outcomeWord(o navev1.Outcome) string {
	return strings.ToLower(strings.TrimPrefix(o.String(), "OUTCOME_"))
}

// nouns widens a slice.
func nouns[T noun](items []T) []noun {
	out := make([]noun, len(items))
	for i, it := range items {
		out[i] = it
	}
	return out
}

// narrow is the inverse of [nouns].
func narrow[T noun](items []noun) []T {
	out := make([]T, len(items))
	for i, it := range items {
		out[i] = it.(T)
	}
	return out
}

func requirements(rs []*navev1.Requirement) string {
	var out []string
	for _, r := range rs {
		switch len(r.GetValues()) {
		case 0:
			out = append(out, r.GetKey()+" "+r.GetOperator())
		default:
			out = append(out, fmt.Sprintf("%s %s (%s)", r.GetKey(), r.GetOperator(), strings.Join(r.GetValues(), ",")))
		}
	}
	return strings.Join(out, "; ")
}
