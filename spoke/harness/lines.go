package harness

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"sync"
	"unicode/utf8"
)

// readLines calls f for each line of r, without its end, as valid UTF-8 of at most limit bytes. A longer line comes in parts:
// continued says that the next call goes on with the same line. It ends with r.
func readLines(r io.Reader, limit int, f func(text string, continued bool)) error {
	br := reader(r, limit)
	defer readers.Put(br)
	var rest []byte // cut off at the end of a part: the beginning of a character, or of the line's end
	for {
		part, err := br.ReadSlice('\n')
		more := errors.Is(err, bufio.ErrBufferFull)
		if len(part) > 0 || len(rest) > 0 {
			line := append(rest, part...)
			rest = nil
			if more {
				n := wholeRunes(line)
				if n > 1 && line[n-1] == '\r' {
					n-- // it may be the first half of the line's end
				}
				rest = append(rest, line[n:]...)
				line = line[:n]
			} else {
				line = trimEnd(line)
			}
			emit(strings.ToValidUTF8(string(line), "\uFFFD"), limit, more, f)
		}
		if err != nil && !more {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// readers keeps readers that are not used: one has room for the longest line, and each turn needs two.
var readers sync.Pool

func reader(r io.Reader, limit int) *bufio.Reader {
	if br, ok := readers.Get().(*bufio.Reader); ok && br.Size() == limit {
		br.Reset(r)
		return br
	}
	return bufio.NewReaderSize(r, limit)
}

// emit splits a text that has grown beyond the limit by the replacement of bytes that are not UTF-8.
func emit(text string, limit int, more bool, f func(string, bool)) {
	for len(text) > limit {
		n := limit
		for n > 0 && !utf8.RuneStart(text[n]) {
			n--
		}
		f(text[:n], true)
		text = text[n:]
	}
	f(text, more)
}

// wholeRunes is the length of b without an incomplete character at its end.
func wholeRunes(b []byte) int {
	for i := 1; i <= utf8.UTFMax-1 && i <= len(b); i++ {
		if utf8.RuneStart(b[len(b)-i]) {
			if !utf8.FullRune(b[len(b)-i:]) {
				return len(b) - i
			}
			break
		}
	}
	return len(b)
}

func trimEnd(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\n' {
		line = line[:n-1]
		if n > 1 && line[n-2] == '\r' {
			line = line[:n-2]
		}
	}
	return line
}
