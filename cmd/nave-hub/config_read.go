package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/nave-dev/nave/api"
)

// maxConfigBytes bounds a configuration file.
const maxConfigBytes = 1 << 20

// readConfig reads a configuration file over the defaults. Errors name the file, the line and the field.
func readConfig(path string) (config, error) {
	c := defaults()
	f, err := os.Open(path)
	if err != nil {
		return c, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err != nil {
		return c, fmt.Errorf("read configuration: %w", err)
	}
	if len(text) > maxConfigBytes {
		return c, api.Errorf(api.CodeInvalid, "%s has more than %d bytes: it is no configuration", path, maxConfigBytes)
	}
	return c, decodeConfig(path, text, &c)
}

// decodeConfig fills c from YAML and completes it. What the file does not say keeps its value.
func decodeConfig(source string, text []byte, c *config) error {
	r := configReader{source: source, lines: map[string]int{}}
	var doc yaml.Node
	dec := yaml.NewDecoder(strings.NewReader(string(text)))
	err := dec.Decode(&doc)
	switch {
	case errors.Is(err, io.EOF): // an empty file
	case err != nil:
		return api.Errorf(api.CodeInvalid, "%s is not YAML: %w", source, err)
	case len(doc.Content) > 0:
		if err := r.fill(doc.Content[0], reflect.ValueOf(c).Elem(), ""); err != nil {
			return err
		}
		if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
			return api.Errorf(api.CodeInvalid, "%s holds more than one document: leave one", source)
		}
	}
	return r.located(c.complete())
}

// configReader fills structs from YAML by reflection. It refuses what the struct does not have and what is there twice.
type configReader struct {
	source string
	lines  map[string]int // of the fields that were given
}

// bad is an error about a field that the file has.
func (r *configReader) bad(n *yaml.Node, field, format string, args ...any) error {
	return &api.Error{Code: api.CodeInvalid, Op: fmt.Sprintf("%s, line %d", r.source, n.Line), Field: field, Err: fmt.Errorf(format, args...)}
}

// located adds the file, and the line of the field if the file has it, to an error of a check.
func (r *configReader) located(err error) error {
	var e *api.Error
	if !errors.As(err, &e) {
		return err
	}
	out := *e
	out.Op = r.source
	for field := e.Field; field != ""; field = field[:max(strings.LastIndexByte(field, '.'), 0)] {
		if line := r.lines[field]; line > 0 {
			out.Op = fmt.Sprintf("%s, line %d", r.source, line)
			break
		}
	}
	return &out
}

// fill sets v from a node. Nothing after a colon leaves a field as it is.
func (r *configReader) fill(n *yaml.Node, v reflect.Value, path string) error {
	if n.Kind == yaml.AliasNode {
		return r.bad(n, path, "is an alias: write the value out")
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return nil
	}
	if v.Kind() == reflect.Struct {
		return r.fillStruct(n, v, path)
	}
	if v.Kind() == reflect.Slice {
		if n.Kind != yaml.SequenceNode {
			return r.bad(n, path, "is not a list: write one, [a, b]")
		}
		out := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
		for i, item := range n.Content {
			if err := r.fill(item, out.Index(i), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
		v.Set(out)
		return nil
	}
	if n.Kind != yaml.ScalarNode {
		return r.bad(n, path, "holds other values: want a single one")
	}
	switch v.Interface().(type) {
	case time.Duration:
		d, err := time.ParseDuration(n.Value)
		if err != nil {
			return r.bad(n, path, "%.40q is not a duration: want a number with a unit, such as 10s or 2m", n.Value)
		}
		v.SetInt(int64(d))
	case int:
		i, err := strconv.Atoi(n.Value)
		if err != nil {
			return r.bad(n, path, "%.40q is not a whole number", n.Value)
		}
		v.SetInt(int64(i))
	case string:
		if n.ShortTag() != "!!str" {
			return r.bad(n, path, "YAML takes %.40q for something else than text: put it in quotes", n.Value)
		}
		v.SetString(n.Value)
	default:
		panic(fmt.Sprintf("field %s has a type that no configuration can hold", path))
	}
	return nil
}

func (r *configReader) fillStruct(n *yaml.Node, v reflect.Value, path string) error {
	if n.Kind != yaml.MappingNode {
		if path == "" {
			return r.bad(n, "", "the file is not a list of fields with values")
		}
		return r.bad(n, path, "holds fields: write them below it, indented")
	}
	fields := fieldsOf(v)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		at := joinPath(path, key.Value)
		field, known := fields[key.Value]
		if !known {
			return r.bad(key, at, "is not a field%s", nearest(key.Value, fields))
		}
		if first := r.lines[at]; first > 0 {
			return r.bad(key, at, "is there already, in line %d: remove one", first)
		}
		r.lines[at] = key.Line
		if err := r.fill(n.Content[i+1], field, at); err != nil {
			return err
		}
	}
	return nil
}

func joinPath(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// fieldsOf returns the fields of a struct by their names in YAML.
func fieldsOf(v reflect.Value) map[string]reflect.Value {
	out := map[string]reflect.Value{}
	for i := range v.NumField() {
		switch tag := v.Type().Field(i).Tag.Get("yaml"); tag {
		case ",inline":
			for name, f := range fieldsOf(v.Field(i)) {
				out[name] = f
			}
		default:
			out[tag] = v.Field(i)
		}
	}
	return out
}

// nearest names the known field that was probably meant, or all of them.
func nearest(name string, fields map[string]reflect.Value) string {
	var names []string
	for f := range fields {
		names = append(names, f)
	}
	slices.Sort(names)
	best, least := "", len(name)/2+1
	for _, f := range names {
		if d := distance(name, f); d < least {
			best, least = f, d
		}
	}
	if best != "" {
		return fmt.Sprintf("; did you mean %s?", best)
	}
	return "; there are " + strings.Join(names, ", ")
}

// distance is Levenshtein's: how many characters to add, take away or change.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
