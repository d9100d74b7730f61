package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
)

// What a terminal is shown of one event.
const (
	maxLineRunes = 400
	indentation  = "        "
)

// shownLines is how many lines of an event's text a terminal is shown; a type that is not named has no bound.
var shownLines = map[api.EventType]int{
	api.EventTool: 4, api.EventResult: 6, api.EventLog: 12, api.EventNote: 12, api.EventAsked: 12, api.EventUsage: 4,
}

// eventColours are those of an event's type and, when text is set, of its text.
var eventColours = map[api.EventType]struct {
	colour string
	text   bool
}{
	api.EventMessage: {bold, false}, api.EventThought: {dim, true}, api.EventLog: {dim, true}, api.EventUsage: {dim, true},
	api.EventAsked: {yellow, false}, api.EventAnswered: {green, false}, api.EventDead: {red, false}, api.EventLost: {red, false},
}

// printEvent prints one event of a log.
func (a *app) printEvent(e *navev1.Event, full bool) error {
	if a.output == formatJSON {
		return a.printLine(e)
	}
	line := a.eventHead(e)
	kind := api.EventType(e.GetType())
	if said := eventWords(e); said != "" {
		line += "  " + clean(said, false)
	}
	text := e.GetText()
	if a.terminal && !full {
		text = a.cut(e, text)
	}
	if text = strings.TrimRight(a.text(text), "\n"); text != "" {
		if eventColours[kind].text {
			text = a.dimmed(text)
		}
		line += "  " + strings.ReplaceAll(text, "\n", "\n"+indentation)
	}
	if kind == api.EventAsked && a.terminal {
		id := clean(short(e.GetAttributes()[api.AttrApproval]), false)
		line += "\n" + indentation + a.tint(yellow, fmt.Sprintf("answer it: nave approve %s, or nave deny %s", id, id))
	}
	_, err := fmt.Fprintln(a.out, strings.TrimRight(line, " "))
	return err
}

// dimmed colours each line for itself, so that what is cut off below is not coloured too.
func (a *app) dimmed(text string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = a.tint(dim, l)
	}
	return strings.Join(lines, "\n")
}

// eventHead is what stands before an event's text.
func (a *app) eventHead(e *navev1.Event) string {
	number := fmt.Sprintf("%6d", e.GetNumber())
	switch {
	case e.GetReceivedAt() != nil: // of a side branch
		number = clean(fmt.Sprintf("%s #%d", e.GetSource(), e.GetSourceNumber()), false)
	case e.GetNumber() == 0: // not numbered yet
		number = "     ~"
	}
	kind := clean(fmt.Sprintf("%-18s", e.GetType()), false)
	head := fmt.Sprintf("%s  %s  %s", number, stamp(e.GetTime()), a.tint(eventColours[api.EventType(e.GetType())].colour, kind))
	if e.GetCluster() != "" {
		head += fmt.Sprintf("  [%s]", clean(e.GetCluster(), false))
	}
	if len(e.GetSignals()) > 0 {
		head += fmt.Sprintf("  signals %s", strings.Trim(fmt.Sprint(e.GetSignals()), "[]"))
	}
	if o := e.GetOutcome(); o != "" {
		colour := green
		if !api.Outcome(o).Consumes() {
			colour = red
		}
		head += "  " + a.tint(colour, clean(o, false))
	}
	return head
}

// eventWords says what the attributes of an event tell a person.
func eventWords(e *navev1.Event) string {
	at := e.GetAttributes()
	var out []string
	add := func(format, key string) {
		if v := at[key]; v != "" {
			out = append(out, fmt.Sprintf(format, v))
		}
	}
	switch api.EventType(e.GetType()) {
	case api.EventTool:
		add("(%s)", api.AttrToolKind)
	case api.EventResult:
		add("%s", api.AttrStatus)
	case api.EventTurnDone:
		add("the agent stopped: %s", api.AttrStopReason)
	case api.EventAsked:
		add("%s", api.AttrTitle)
		add("(waits %s)", api.AttrHold)
	case api.EventAnswered, api.EventTaken:
		add("%s", api.AttrApproval)
		add("%s", api.AttrDecision)
		add("option %s", api.AttrOption)
		add("by %s", api.AttrBy)
	case api.EventExpired, api.EventWithdrawn:
		add("%s", api.AttrApproval)
	case api.EventCancelled:
		add("up to signal %s", api.AttrUpTo)
		add("by %s", api.AttrBy)
	case api.EventUsage, api.EventNote:
		if api.EventType(e.GetType()) == api.EventUsage && e.GetText() != "" {
			break // which says the same
		}
		for _, k := range slices.Sorted(maps.Keys(at)) {
			if k != api.AttrStream {
				out = append(out, k+"="+at[k])
			}
		}
	}
	return strings.Join(out, " ")
}

// cut shortens what is long, and says how to see the rest.
func (a *app) cut(e *navev1.Event, text string) string {
	most := shownLines[api.EventType(e.GetType())]
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if most == 0 || len(lines) <= most && longest(lines) <= maxLineRunes {
		return text
	}
	more := "more"
	if n := len(lines) - most; n > 0 {
		lines, more = lines[:most], plural(n, "line")+" more"
	}
	for i, l := range lines {
		if utf8.RuneCountInString(l) > maxLineRunes {
			lines[i] = string([]rune(l)[:maxLineRunes]) + " ..."
		}
	}
	hint := fmt.Sprintf("... %s: nave events %s --from %d --limit 1 --full", more, e.GetSessionId(), e.GetNumber())
	if e.GetNumber() == 0 {
		hint = "... " + more + ": --full shows all"
	}
	return strings.Join(append(lines, hint), "\n")
}

func longest(lines []string) (most int) {
	for _, l := range lines {
		most = max(most, utf8.RuneCountInString(l))
	}
	return most
}
