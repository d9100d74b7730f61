package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// The output formats.
const (
	formatTable = "table"
	formatJSON  = "json"
	formatYAML  = "yaml"
	formatName  = "name"
	formatText  = "text"
)

// encodeJSON renders a message by the JSON mapping of protobuf with the field names of the API. The form is stable: what
// the library varies (spaces) is taken out. With indent it is for one document, without it for one line.
func encodeJSON(m proto.Message, indent bool) ([]byte, error) {
	raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	var flat, b bytes.Buffer
	if err := json.Compact(&flat, raw); err != nil {
		return nil, err
	}
	if !indent {
		return escapeJSON(flat.Bytes()), nil
	}
	err = json.Indent(&b, flat.Bytes(), "", "  ")
	return escapeJSON(b.Bytes()), err
}

// escapeJSON writes what could steer a terminal as \u escapes. In JSON such characters stand inside strings only.
func escapeJSON(raw []byte) []byte {
	return escape(raw, func(r rune) string {
		if r < 0x10000 {
			return fmt.Sprintf(`\u%04x`, r)
		}
		r -= 0x10000
		return fmt.Sprintf(`\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
	})
}

// escape replaces what could steer a terminal, but for line breaks.
func escape(raw []byte, as func(rune) string) []byte {
	var b bytes.Buffer
	for _, r := range string(raw) {
		if r == '\n' || r == utf8.RuneError || !steers(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(as(r))
		}
	}
	return b.Bytes()
}

// jsonText renders a text as a word of JSON.
func jsonText(s string) []byte {
	raw, err := json.Marshal(s)
	if err != nil {
		return []byte(`""`)
	}
	return escapeJSON(raw)
}

// printJSON prints one document.
func (a *app) printJSON(m proto.Message) error {
	raw, err := encodeJSON(m, true)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s\n", raw)
	return err
}

// printPlain prints a document that is no message of the API.
func (a *app) printPlain(v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s\n", escapeJSON(raw))
	return err
}

// printLine prints a message as one line of JSON.
func (a *app) printLine(m proto.Message) error {
	raw, err := encodeJSON(m, false)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s\n", raw)
	return err
}

// note tells a person something that no program reads.
func (a *app) note(format string, args ...any) {
	fmt.Fprintln(a.errOut, clean(fmt.Sprintf(format, args...), false))
}
