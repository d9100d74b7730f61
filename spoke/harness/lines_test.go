package harness

import (
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

type part struct {
	Text      string
	Continued bool
}

func parts(t interface{ Fatal(...any) }, in string, limit int) []part {
	var got []part
	if err := readLines(iotest.OneByteReader(strings.NewReader(in)), limit, func(text string, continued bool) { got = append(got, part{text, continued}) }); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestReadLines(t *testing.T) {
	const limit = 16 // the least that bufio takes
	for _, tt := range []struct {
		in   string
		want []part
	}{
		{"", nil},
		{"a\nb", []part{{"a", false}, {"b", false}}},
		{"a\r\n\n", []part{{"a", false}, {"", false}}},
		{"0123456789abcdef", []part{{"0123456789abcdef", true}}},
		{"0123456789abcdefgh\ni\n", []part{{"0123456789abcdef", true}, {"gh", false}, {"i", false}}},
		{"0123456789abcdé\n", []part{{"0123456789abcdé", true}, {"", false}}},
		{"0123456789abcde\r\ni", []part{{"0123456789abcde", true}, {"", false}, {"i", false}}},
		{"0123456789abcde\ri", []part{{"0123456789abcde", true}, {"\ri", false}}},
		{"0123456789abcdeé\n", []part{{"0123456789abcde", true}, {"é", false}}},
		{"\xff\xfe\n", []part{{"\uFFFD", false}}},
	} {
		if diff := cmp.Diff(tt.want, parts(t, tt.in, limit)); diff != "" {
			t.Errorf("%q: (-want +got)\n%s", tt.in, diff)
		}
	}
}

// Whatever an agent prints: parts are valid and bounded, and valid text comes out as it went in.
func TestReadLinesKeepsText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const limit = 16
		lines := rapid.SliceOf(rapid.OneOf(rapid.StringMatching(`[a-zé€😀 ]{0,40}`), rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))).Draw(t, "lines")
		in := strings.Join(lines, "\n")
		var out strings.Builder
		for _, p := range parts(t, in, limit) {
			if len(p.Text) > limit || !utf8.ValidString(p.Text) {
				t.Fatalf("part %q has %d bytes or is not UTF-8", p.Text, len(p.Text))
			}
			out.WriteString(p.Text)
			if !p.Continued {
				out.WriteByte('\n')
			}
		}
		want := strings.TrimRight(strings.ReplaceAll(in, "\r\n", "\n"), "\r\n")
		if utf8.ValidString(in) && strings.TrimRight(out.String(), "\r\n") != want {
			t.Fatalf("%q came out as %q", in, out.String())
		}
	})
}
