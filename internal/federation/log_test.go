package federation_test

import (
	"fmt"
	"strings"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
)

// log reads a session's log from its beginning. It fails when the log is not dense.
func (w *world) log(id string) events {
	w.t.Helper()
	var out events
	stream, err := w.client.Sessions.Events(w.within(), &navev1.EventsRequest{SessionId: id})
	w.must(err)
	sources := map[string]uint64{}
	for stream.Receive() {
		e := stream.Msg()
		out = append(out, e)
		if e.GetNumber() != uint64(len(out)) {
			w.t.Fatalf("event %d has number %d", len(out), e.GetNumber())
		}
		if sources[e.GetSource()]++; e.GetSourceNumber() != sources[e.GetSource()] {
			w.t.Fatalf("event %d has number %d of source %s, want %d", len(out), e.GetSourceNumber(), e.GetSource(), sources[e.GetSource()])
		}
	}
	w.must(stream.Err())
	return out
}

// said waits until a log has a message that begins with a text, and returns its rest.
func (w *world) said(id, prefix string) string {
	w.t.Helper()
	rest := ""
	var last events
	err := w.Await(w.within(), fmt.Sprintf("message %q", prefix), func() (bool, error) {
		last = w.log(id)
		for _, text := range last.messages() {
			if r, ok := strings.CutPrefix(text, prefix); ok {
				rest = r
				return true, nil
			}
		}
		return false, nil
	})
	if err != nil {
		w.t.Fatalf("%v; the log:\n%s", err, last)
	}
	return rest
}

// events is a log.
type events []*navev1.Event

func (es events) messages() (out []string) {
	for _, e := range es {
		if e.GetType() == string(api.EventMessage) {
			out = append(out, e.GetText())
		}
	}
	return out
}

// of returns the events of a type.
func (es events) of(typ api.EventType) (out events) {
	for _, e := range es {
		if e.GetType() == string(typ) {
			out = append(out, e)
		}
	}
	return out
}

// outcomes lists the turn records: signals and how each turn ended.
func (es events) outcomes() (out []string) {
	for _, e := range es.of(api.EventTurnDone) {
		out = append(out, fmt.Sprint(e.GetSignals(), " ", e.GetOutcome()))
	}
	return out
}

// String shows a log, one line an event.
func (es events) String() string {
	var b strings.Builder
	for _, e := range es {
		fmt.Fprintf(&b, "%4d %-6s/%d %-16s %-6s %v %.120s\n", e.GetNumber(), e.GetSource(), e.GetSourceNumber(), e.GetType(), e.GetOutcome(), e.GetSignals(), e.GetText())
	}
	return b.String()
}
