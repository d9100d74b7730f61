package main

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/api/navev1"
)

// FuzzClean: nothing that an agent writes steers a terminal or hides what it says: no escape leaves, as text or as JSON; and
// JSON says the same as before.
func FuzzClean(f *testing.F) {
	for _, s := range []string{"", "plain é 漢 \U0001F469\u200d\U0001F4BB", "\x1b[2J", "\x1b]0;t\x07", "\u009b31m", "\x9b", "a\rb", "\u202e", "\u2066\u2069", "\ufeff", "\U000e0041", "\xff\xfe", "\xc2", "\xed\xa0\x80", "\x00\x7f\x85", "\u2028\u2029", "\n\t", "\ufffd", "\ufffe", "\U0010ffff", "\\x1b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, lines := range []bool{false, true} {
			got := clean(s, lines)
			if !utf8.ValidString(got) {
				t.Fatalf("%q became %q", s, got)
			}
			for _, r := range got {
				if r != utf8.RuneError && steers(r) && (!lines || r != '\n' && r != '\t') || r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r <= 0x9f {
					t.Fatalf("%q became %q, with %U", s, got, r)
				}
			}
			if again := clean(got, lines); again != got {
				t.Errorf("%q became %q and then %q", s, got, again)
			}
			if len(got) > 10*len(s) {
				t.Errorf("%d bytes became %d", len(s), len(got))
			}
		}
		if !utf8.ValidString(s) {
			return // no message holds it
		}
		word := jsonText(s)
		var back string
		if err := json.Unmarshal(word, &back); err != nil || back != s || strings.ContainsFunc(string(word), func(r rune) bool { return r != utf8.RuneError && steers(r) }) {
			t.Errorf("%q became %s, %q, %v", s, word, back, err)
		}
		e := &navev1.Event{Text: s, Attributes: map[string]string{s: s}}
		for _, indent := range []bool{false, true} {
			raw, err := encodeJSON(e, indent)
			if err != nil {
				t.Fatal(err)
			}
			got := new(navev1.Event)
			if err := protojson.Unmarshal(raw, got); err != nil || !proto.Equal(e, got) {
				t.Errorf("%s: %v", raw, err)
			}
			if strings.ContainsFunc(string(raw), func(r rune) bool { return r != '\n' && r != utf8.RuneError && steers(r) }) {
				t.Errorf("%q became %q", s, raw)
			}
		}
	})
}
