package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
)

// The envelope of a document.
const apiVersion = "nave.dev/v1"

// Bounds of what is read.
const (
	maxSource    = 16 << 20 // bytes of one file
	maxDocuments = 10_000   // documents of one file
	maxNodes     = 200_000  // nodes of one document, each use of an anchor counted
	maxDepth     = 64       // nesting of one document
)

// document is one definition and where it was found.
type document struct {
	source string // path of the file, or "standard input"
	index  int    // of the document in its source, from 1
	line   int    // where it begins
	kind   *kind
	noun   noun
}

func (d document) where() string {
	return fmt.Sprintf("%s: document %d, line %d", d.source, d.index, d.line)
}

func (d document) name() string { return d.kind.singular() + "/" + d.noun.GetMeta().GetName() }

// readDocuments reads every definition of a source. Empty documents count but give nothing.
func readDocuments(source string, r io.Reader) ([]document, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxSource+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", source, err)
	}
	if len(text) > maxSource {
		return nil, &api.Error{Code: api.CodeLimit, Op: source, Err: fmt.Errorf("more than %d bytes: split the file", maxSource)}
	}
	var docs []document
	dec := yaml.NewDecoder(strings.NewReader(string(text)))
	for i := 1; ; i++ {
		var n yaml.Node
		switch err := decodeNode(dec, &n); {
		case errors.Is(err, io.EOF):
			return docs, nil
		case err != nil:
			return nil, &api.Error{Code: api.CodeInvalid, Op: fmt.Sprintf("%s: document %d", source, i), Err: errors.New(strings.TrimPrefix(err.Error(), "yaml: "))}
		case i > maxDocuments:
			return nil, &api.Error{Code: api.CodeLimit, Op: source, Err: fmt.Errorf("more than %d documents: split the file", maxDocuments)}
		}
		if n.Kind != yaml.DocumentNode || len(n.Content) != 1 || isNull(n.Content[0]) {
			continue
		}
		d := document{source: source, index: i, line: n.Content[0].Line}
		if err := d.read(n.Content[0]); err != nil {
			return nil, err
		}
		docs = append(docs, d)
	}
}

// decodeNode turns a panic of the parser into an error: what is read comes from anywhere.
func decodeNode(dec *yaml.Decoder, n *yaml.Node) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("cannot be parsed: %v", v)
		}
	}()
	return dec.Decode(n)
}

// kindNames lists the kinds as documents name them.
func kindNames() string {
	var out []string
	for _, k := range kinds {
		out = append(out, string(k.name))
	}
	return strings.Join(out, ", ")
}

// envelope lists the fields of a document.
var envelope = []string{"apiVersion", "kind", "metadata", "spec"}

// metaFields are those of the meta that a person sets.
var metaFields = []string{"name", "organization", "labels"}

func (d *document) read(n *yaml.Node) error {
	r := &reader{source: fmt.Sprintf("%s: document %d", d.source, d.index)}
	parts, err := r.mapping(n, "")
	if err != nil {
		return err
	}
	for _, k := range slices.SortedFunc(maps.Keys(parts), func(a, b string) int { return parts[a].key.Line - parts[b].key.Line }) {
		if !slices.Contains(envelope, k) {
			return r.bad(parts[k].key, k, "is not a field of a document: use %s", strings.Join(envelope, ", "))
		}
	}
	if v, err := r.word(n, parts, "apiVersion"); err != nil {
		return err
	} else if v != apiVersion {
		return r.bad(parts["apiVersion"].value, "apiVersion", "%q is not known: use %s", v, apiVersion)
	}
	v, err := r.word(n, parts, "kind")
	if err != nil {
		return err
	}
	for _, k := range kinds {
		if string(k.name) == v {
			d.kind = k
		}
	}
	if d.kind == nil {
		return r.bad(parts["kind"].value, "kind", "%q is not a kind: use %s", v, kindNames())
	}
	d.noun = d.kind.empty()
	m := d.noun.ProtoReflect()
	for _, part := range []struct{ key, field string }{{"metadata", "meta"}, {"spec", "spec"}} {
		p, ok := parts[part.key]
		if !ok || isNull(p.value) {
			return r.bad(n, part.key, "is missing")
		}
		f := m.Descriptor().Fields().ByName(protoName(part.field))
		if part.key == "metadata" {
			r.only = metaFields
		}
		if err := r.message(p.value, m.Mutable(f).Message(), part.key); err != nil {
			return err
		}
		r.only = nil
	}
	return d.check(r, parts)
}

// check applies the rules that need no hub.
func (d *document) check(r *reader, parts map[string]pair) error {
	meta := d.noun.GetMeta()
	at := parts["metadata"].value
	if err := api.ValidateName("metadata.name", meta.GetName()); err != nil {
		return r.at(at, err)
	}
	if o := meta.GetOrganization(); o != "" {
		if err := api.ValidateName("metadata.organization", o); err != nil {
			return r.at(at, err)
		}
	}
	if err := api.ValidateLabels("metadata.labels", meta.GetLabels()); err != nil {
		return r.at(at, err)
	}
	return nil
}

// metaOf is the part of a meta that a document holds.
func metaOf(m *navev1.Meta) *navev1.Meta {
	return &navev1.Meta{Name: m.GetName(), Organization: m.GetOrganization(), Labels: m.GetLabels()}
}
