package local

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/nave-dev/nave/api"
)

// encodingBase64 is the other encoding of a payload than text.
const encodingBase64 = "base64"

// decodeSignal reads and checks the body of a signal.
func decodeSignal(body []byte) (SignalRequest, error) {
	var r SignalRequest
	var payload, encoding string
	err := object(body, map[string]any{"agent": &r.Agent, "key": &r.Key, "payload": &payload, "encoding": &encoding, "idempotency_key": &r.IdempotencyKey})
	if err != nil {
		return r, err
	}
	if err := api.ValidateName("agent", r.Agent); err != nil {
		return r, err
	}
	if err := api.ValidateSessionKey("key", r.Key); err != nil {
		return r, err
	}
	if r.IdempotencyKey != "" {
		if err := api.ValidateIdempotencyKey("idempotency_key", r.IdempotencyKey); err != nil {
			return r, err
		}
	}
	switch encoding {
	case "":
		r.Payload = []byte(payload)
	case encodingBase64:
		if r.Payload, err = base64.StdEncoding.Strict().DecodeString(payload); err != nil {
			return r, api.Invalid("payload", "it is not base64 with padding: %w", err)
		}
	default:
		return r, api.Invalid("encoding", "%.40q: want %q, or leave it out for text", encoding, encodingBase64)
	}
	if len(r.Payload) > MaxPayload {
		return r, limit("payload", "%d bytes: at most %d are allowed", len(r.Payload), MaxPayload)
	}
	return r, nil
}

// decodeNote reads and checks the body of a note.
func decodeNote(body []byte) (text string, attributes map[string]string, err error) {
	if err := object(body, map[string]any{"text": &text, "attributes": &attributes}); err != nil {
		return "", nil, err
	}
	switch {
	case text == "":
		return "", nil, api.Invalid("text", "is missing")
	case len(text) > MaxText:
		return "", nil, limit("text", "%d bytes: at most %d are allowed", len(text), MaxText)
	case len(attributes) > MaxAttributes:
		return "", nil, limit("attributes", "%d: at most %d are allowed", len(attributes), MaxAttributes)
	}
	for name, value := range attributes {
		switch {
		case !validAttribute(name):
			return "", nil, api.Invalid("attributes", "%.80q: want a name of 1 to %d letters, digits, hyphens, underscores and dots", name, MaxName)
		case len(value) > MaxValue:
			return "", nil, limit("attributes", "%s has %d bytes: at most %d are allowed", name, len(value), MaxValue)
		}
	}
	return text, attributes, nil
}

// validAttribute reports whether an attribute may have the name.
func validAttribute(name string) bool {
	return name != "" && len(name) <= MaxName && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.", r)
	})
}

// object reads one JSON object into the fields that it may have. It is stricter than encoding/json, which takes names in any
// case, takes them twice and mends what is not UTF-8.
func object(body []byte, fields map[string]any) error {
	if !utf8.Valid(body) {
		return api.Invalid("body", "it is not UTF-8: send a payload of other bytes with \"encoding\": %q", encodingBase64)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return api.Invalid("body", "want one JSON object")
	}
	var seen []string
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return api.Invalid("body", "it is not JSON: %w", err)
		}
		name, _ := t.(string) // the decoder takes nothing else in its place
		into, known := fields[name]
		switch {
		case !known:
			return api.Invalid(cmp.Or(fmt.Sprintf("%.60s", name), "body"), "there is no field %.60q", name)
		case slices.Contains(seen, name):
			return api.Invalid(name, "it is there twice")
		}
		seen = append(seen, name)
		if err := d.Decode(into); err != nil {
			var kind *json.UnmarshalTypeError
			if errors.As(err, &kind) {
				return api.Invalid(name, "it is a %s", kind.Value)
			}
			return api.Invalid("body", "it is not JSON: %w", err)
		}
	}
	if _, err := d.Token(); err != nil {
		return api.Invalid("body", "it is not JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return api.Invalid("body", "something follows the object")
	}
	return nil
}

// limit makes an error for a field that is too large.
func limit(field, format string, args ...any) error {
	return &api.Error{Code: api.CodeLimit, Field: field, Err: fmt.Errorf(format, args...)}
}
