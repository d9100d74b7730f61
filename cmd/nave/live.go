package main

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"strings"
	"unicode/utf8"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
)

// maxStreams bounds the streams that are shown at a time; further ones are shown when their event comes.
const maxStreams = 64

// live shows texts while they are written. A text comes in pieces, the deltas of a stream, and then whole in an event of the
// log. Nothing of it is shown twice, and nothing is left out:
//
//	a delta                             is shown when
//	the first one of its stream         it begins at 0, and fewer than maxStreams are open
//	a later one                         it holds what comes next; what is in front of that is skipped
//	one behind a gap                    never: the event has it
//	the event, what was shown begins it the rest of its text is shown
//	the event, with another text        it is shown as if there had been no deltas
type live struct {
	*app
	head    func(*navev1.Event) string // what stands before a text; nil: nothing
	streams map[string]*progress
	open    string // key of the stream whose line is not ended; empty: none
}

// progress is what was shown of a stream.
type progress struct {
	shown uint64
	sum   hash.Hash // of what was shown
	part  string    // its last bytes that are no whole character yet: not on the screen
}

func newLive(a *app, head func(*navev1.Event) string) *live {
	return &live{app: a, head: head, streams: map[string]*progress{}}
}

func streamKey(e *navev1.Event, stream string) string { return e.GetSource() + "\x00" + stream }

// delta shows a piece.
func (l *live) delta(e *navev1.Event) error {
	d := e.GetDelta()
	key, text := streamKey(e, d.GetStream()), d.GetText()
	p := l.streams[key]
	if p == nil {
		if d.GetOffset() > 0 || len(l.streams) == maxStreams {
			return nil
		}
		p = &progress{sum: sha256.New()}
	}
	if d.GetOffset() > p.shown || d.GetOffset()+uint64(len(text)) <= p.shown {
		return nil
	}
	l.streams[key] = p
	text = text[p.shown-d.GetOffset():]
	p.shown += uint64(len(text))
	p.sum.Write([]byte(text))
	text = p.part + text
	whole := wholeRunes(text)
	text, p.part = text[:whole], text[whole:]
	l.begin(key, e, p.shown == uint64(len(text)+len(p.part)))
	l.write(e, text)
	return l.out.err
}

// wholeRunes is the length of a text without the beginning of a character at its end.
func wholeRunes(s string) int {
	for n := 1; n < utf8.UTFMax && n <= len(s); n++ {
		if utf8.RuneStart(s[len(s)-n]) {
			if !utf8.FullRuneInString(s[len(s)-n:]) {
				return len(s) - n
			}
			break
		}
	}
	return len(s)
}

// begin opens the line of a stream.
func (l *live) begin(key string, e *navev1.Event, first bool) {
	if l.open == key {
		return
	}
	l.close()
	l.open = key
	if l.head != nil {
		fmt.Fprint(l.out, l.head(e), "  ")
	}
	if !first {
		fmt.Fprint(l.out, "... ")
	}
}

// write prints a piece of a text, as [app.printEvent] would print it.
func (l *live) write(e *navev1.Event, text string) {
	text = l.text(text)
	if l.head != nil {
		text = strings.ReplaceAll(text, "\n", "\n"+indentation)
	}
	if eventColours[api.EventType(e.GetType())].text {
		text = l.dimmed(text)
	}
	fmt.Fprint(l.out, text)
}

// close ends an open line, so that something else can be printed.
func (l *live) close() {
	if l.open != "" {
		fmt.Fprintln(l.out)
		l.open = ""
	}
}

// event shows what is not on the screen yet of an event that a stream led to. It reports false when nothing of the event is:
// then the caller prints it.
func (l *live) event(e *navev1.Event) (bool, error) {
	key := streamKey(e, e.GetAttributes()[api.AttrStream])
	p := l.streams[key]
	delete(l.streams, key)
	if p == nil || !p.begins(e.GetText()) {
		l.close()
		return false, l.out.err
	}
	rest := strings.TrimRight(p.part+e.GetText()[p.shown:], "\n")
	if rest != "" {
		l.begin(key, e, false)
		l.write(e, rest)
	}
	if l.open == key && l.head != nil {
		fmt.Fprint(l.out, l.tint(dim, fmt.Sprintf("  [%d]", e.GetNumber())))
	}
	l.close()
	return true, l.out.err
}

// begins tells whether a text begins with what was shown.
func (p *progress) begins(text string) bool {
	if uint64(len(text)) < p.shown {
		return false
	}
	sum := sha256.Sum256([]byte(text[:p.shown]))
	return string(p.sum.Sum(nil)) == string(sum[:])
}
