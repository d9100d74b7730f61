package main

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// clean escapes every character that could steer a terminal or hide what a text says: control characters of both sets,
// broken UTF-8, and the marks that turn the direction of writing or do not show. With lines, line breaks and tabs stay.
func clean(s string, lines bool) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return steers(r) }) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case lines && (r == '\n' || r == '\t'), !steers(r), r == utf8.RuneError && n > 1:
			b.WriteString(s[i : i+n])
		case r == utf8.RuneError:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		i += n
	}
	return b.String()
}

// steers reports whether a terminal, or a reader's eye, may be led astray by a rune. Joiners stay: scripts and emoji need
// them.
func steers(r rune) bool {
	switch {
	case unicode.IsControl(r), r == utf8.RuneError:
		return true
	case r == 0x200e, r == 0x200f, r == 0x061c, r == 0xfeff: // direction marks, byte order mark
		return true
	case r >= 0x2028 && r <= 0x202e, r >= 0x2060 && r <= 0x206f: // separators, embeddings, isolates, invisible operators
		return true
	case r >= 0xe0000 && r <= 0xe007f, r&0xfffe == 0xfffe: // tags, and what is no character
		return true
	}
	return false
}

// text prepares a text for standard output: as it is for programs, escaped for a terminal.
func (a *app) text(s string) string {
	if a.terminal {
		return clean(s, true)
	}
	return s
}
