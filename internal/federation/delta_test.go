package federation_test

import (
	"context"
	"errors"
	"strings"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/internal/run"
)

// follow reads a session's log from its beginning until a number of turns have ended, with deltas or without. Numbered events
// and deltas are in the order in which they came.
func (w *world) follow(ctx context.Context, session string, deltas bool, turns int) (out events, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := w.client.Sessions.Events(ctx, &navev1.EventsRequest{SessionId: session, Follow: true, Deltas: deltas})
	if err != nil {
		return nil, err
	}
	for turns > 0 && stream.Receive() {
		e := stream.Msg()
		out = append(out, e)
		if e.GetType() == string(api.EventTurnDone) && e.GetDelta() == nil {
			turns--
		}
	}
	if turns > 0 {
		return out, errors.Join(errors.New("the stream ended"), stream.Err())
	}
	return out, nil
}

// followsDeltas: a reader that asks for them sees texts while they are written, each a piece of the event that has it whole;
// a reader that does not sees the same events and nothing else.
func (w *world) followsDeltas() {
	session := w.tell("scribe", "deltas", "recall")
	w.ended(session, "[1] done")
	g := run.NewGroup(w.within())
	read := map[bool]*events{true: {}, false: {}}
	for deltas, into := range read {
		g.Go("reader", func(ctx context.Context) (err error) {
			*into, err = w.follow(ctx, session, deltas, 2)
			return err
		})
	}
	w.again(session, "count 5\nslow 10")
	w.must(g.Wait())

	with, without := *read[true], *read[false]
	var numbered []string
	whole := map[string]*navev1.Event{} // by source and stream
	for _, e := range with {
		if e.GetDelta() == nil {
			numbered = append(numbered, e.String())
			if s := e.GetAttributes()[api.AttrStream]; s != "" {
				whole[e.GetSource()+" "+s] = e
			}
		}
	}
	var plain []string
	for _, e := range without {
		if plain = append(plain, e.String()); e.GetDelta() != nil || e.GetNumber() != uint64(len(plain)) {
			w.t.Errorf("a reader without deltas got %v as its event %d", e, len(plain))
		}
	}
	if strings.Join(numbered, "\n") != strings.Join(plain, "\n") {
		w.t.Errorf("events with deltas:\n%s\nand without:\n%s", strings.Join(numbered, "\n"), strings.Join(plain, "\n"))
	}

	told := map[string]bool{} // streams whose event has come
	early := map[string]int{} // bytes of a stream before its event
	reached := map[string]uint64{}
	for _, e := range with {
		d := e.GetDelta()
		name := e.GetSource() + " " + e.GetAttributes()[api.AttrStream]
		if d == nil {
			told[name] = true
			continue
		}
		name = e.GetSource() + " " + d.GetStream()
		end := d.GetOffset() + uint64(len(d.GetText()))
		text := whole[name].GetText()
		if e.GetNumber() != 0 || whole[name].GetType() != e.GetType() || end > uint64(len(text)) || text[d.GetOffset():end] != d.GetText() {
			w.t.Errorf("delta %v is no piece of %v", e, whole[name])
		}
		if d.GetOffset() < reached[name] {
			w.t.Errorf("delta %v goes back behind byte %d", e, reached[name])
		}
		if reached[name] = end; !told[name] {
			early[name] += len(d.GetText())
		}
	}
	slow := ""
	for name, e := range whole {
		if strings.HasPrefix(e.GetText(), "step 1 of 10") {
			slow = name
		}
	}
	if n := len(whole[slow].GetText()); slow == "" || early[slow] < n/2 {
		w.t.Errorf("of %d bytes that were written in a second, %d came before their event; the reader got:\n%s", n, early[slow], with)
	}
}
