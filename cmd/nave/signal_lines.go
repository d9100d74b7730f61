package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

// maxLine bounds a line: a payload of the largest size in which every byte is an escape of six, and the rest.
const maxLine = 6*api.MaxPayload + 64<<10

// progressEvery is the time between two words about a long file.
const progressEvery = 5 * time.Second

// signalLine is a line of a file of signals.
type signalLine struct {
	Agent          string  `json:"agent"`
	Key            string  `json:"key"`
	Text           *string `json:"text"`    // the message, or
	Payload        *[]byte `json:"payload"` // the message in base64
	IdempotencyKey string  `json:"idempotency_key"`
}

// outcome is what became of a line.
type outcome struct {
	line    int
	request *navev1.SignalRequest // nil: the line is refused here
	result  *navev1.SignalResult  // nil: not known
}

// lineSender sends the signals of a file and keeps count of what becomes of them.
type lineSender struct {
	*app
	client *client.Client
	dryRun bool
	told   time.Time // of the last word about the progress

	signals, accepted, duplicates, refused int
}

// signalLines sends the signals of a file, one a line.
func (a *app) signalLines(ctx context.Context, path string, dryRun bool) error {
	in := a.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("read signals: %w", err)
		}
		defer f.Close()
		in = f
	}
	return a.with(func(c *client.Client) error {
		s := &lineSender{app: a, client: c, dryRun: dryRun, told: a.now()}
		err := s.run(ctx, &lineReader{r: bufio.NewReaderSize(in, 1<<20)})
		if err == nil || s.signals > 0 {
			s.sum()
		}
		if err == nil && s.refused > 0 {
			return &advice{api.Errorf(api.CodeFailed, "%d of %d signals were refused", s.refused, s.signals), "mend their lines and send those again"}
		}
		return err
	})
}

// run sends what there is in calls of as many signals as are at hand: it does not wait for a slow writer to fill one.
func (s *lineSender) run(ctx context.Context, lines *lineReader) error {
	var waiting []outcome
	for {
		text, err := lines.next()
		if err != nil && err != io.EOF && !errors.Is(err, errLongLine) {
			return fmt.Errorf("read signals after line %d: %w", lines.number, err)
		}
		if err != io.EOF && (errors.Is(err, errLongLine) || len(bytes.TrimSpace(text)) > 0) {
			waiting = append(waiting, s.read(lines.number, text, err))
		}
		if len(waiting) == api.MaxSignalsPerCall || len(waiting) > 0 && (err == io.EOF || !lines.atHand()) {
			if err := s.send(ctx, waiting); err != nil {
				return err
			}
			waiting = nil
		}
		if err == io.EOF {
			return nil
		}
	}
}

// read makes a signal of a line, or says why it is none.
func (s *lineSender) read(number int, text []byte, err error) outcome {
	var r *navev1.SignalRequest
	if err == nil {
		r, err = parseSignalLine(text)
	}
	if err != nil {
		return outcome{line: number, result: &navev1.SignalResult{Error: &navev1.SignalError{Code: string(api.CodeOf(err)), Field: api.FieldOf(err), Message: reason(err)}}}
	}
	r.DryRun = s.dryRun
	return outcome{line: number, request: r}
}

// reason is an error's text without its field.
func reason(err error) string {
	var e *api.Error
	if errors.As(err, &e) && e.Err != nil {
		return e.Err.Error()
	}
	return err.Error()
}

func parseSignalLine(text []byte) (*navev1.SignalRequest, error) {
	var l signalLine
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	err := dec.Decode(&l)
	if err == nil && dec.More() {
		err = errors.New("something follows the object")
	}
	if err != nil {
		return nil, api.Invalid("", "is not a signal: %s; want one JSON object with agent, key, text or payload, and idempotency_key", strings.TrimPrefix(err.Error(), "json: "))
	}
	if (l.Text == nil) == (l.Payload == nil) {
		return nil, api.Invalid("text", "give the message by text, or by payload in base64, one of them")
	}
	r := &navev1.SignalRequest{Agent: l.Agent, Key: l.Key, IdempotencyKey: l.IdempotencyKey}
	if l.Text != nil {
		r.Payload = []byte(*l.Text)
	} else {
		r.Payload = *l.Payload
	}
	if r.IdempotencyKey == "" {
		r.IdempotencyKey = client.NewKey() // so that the repetitions of its call are one signal
	}
	if len(r.GetPayload()) > api.MaxPayload {
		return nil, &api.Error{Code: api.CodeLimit, Field: "payload", Err: fmt.Errorf("%d bytes: at most %d are allowed", len(r.GetPayload()), api.MaxPayload)}
	}
	return r, errors.Join(api.ValidateName("agent", l.Agent), api.ValidateSessionKey("key", l.Key), api.ValidateIdempotencyKey("idempotency_key", l.IdempotencyKey))
}

// send sends what is waiting and tells what became of it, line by line.
func (s *lineSender) send(ctx context.Context, waiting []outcome) error {
	var requests []*navev1.SignalRequest
	for _, o := range waiting {
		if o.request != nil {
			requests = append(requests, o.request)
		}
	}
	results, failure := s.client.SignalMany(ctx, requests)
	for _, o := range waiting {
		if o.result == nil {
			if len(results) == 0 {
				break // neither it nor what follows was answered
			}
			o.result, results = results[0], results[1:]
		}
		if err := s.tell(o); err != nil {
			return err
		}
		waiting = waiting[1:]
	}
	if now := s.now(); failure == nil && now.Sub(s.told) >= progressEvery {
		s.told = now
		s.note("%s so far", s.counts())
	}
	if failure == nil || errors.Is(failure, context.Canceled) {
		return failure
	}
	from := waiting[0].line
	err := fmt.Errorf("line %d and what follows: %w", from, failure)
	if api.CodeOf(failure) != api.CodeUnavailable {
		return err
	}
	return &advice{err, fmt.Sprintf("some of the lines %d to %d may have been accepted: send the file again, lines with an idempotency_key are no second signals", from, waiting[len(waiting)-1].line)}
}

// tell counts what became of a line, and prints it where it is wanted.
func (s *lineSender) tell(o outcome) error {
	s.signals++
	e := o.result.GetError()
	switch {
	case e != nil:
		s.refused++
	case o.result.GetAccepted().GetDuplicate():
		s.duplicates++
	default:
		s.accepted++
	}
	if s.output == formatJSON {
		raw, err := encodeJSON(o.result, false)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(s.out, `{"line":%d,%s`+"\n", o.line, raw[1:])
		return err
	}
	if e != nil {
		text := e.GetMessage()
		if e.GetField() != "" {
			text = e.GetField() + ": " + text
		}
		s.note("line %d: %s", o.line, text)
	}
	return nil
}

func (s *lineSender) counts() string {
	accepted := "accepted"
	if s.dryRun {
		accepted = "would be accepted (dry run)"
	}
	return fmt.Sprintf("signals: %d %s, %d duplicate, %d refused", s.accepted, accepted, s.duplicates, s.refused)
}

func (s *lineSender) sum() {
	if s.output == formatJSON {
		s.note("%s", s.counts())
		return
	}
	fmt.Fprintln(s.out, s.counts())
}

var errLongLine = &api.Error{Code: api.CodeLimit, Err: fmt.Errorf("is longer than %d bytes: at most %d of payload are allowed", maxLine, api.MaxPayload)}

// lineReader reads lines and counts them. What is too long is skipped, not cut.
type lineReader struct {
	r      *bufio.Reader
	number int
}

// next returns a line without its end, errLongLine, or io.EOF after the last one.
func (l *lineReader) next() ([]byte, error) {
	var line []byte
	long := false
	for {
		part, err := l.r.ReadSlice('\n')
		if long = long || len(line)+len(part) > maxLine; !long {
			line = append(line, part...)
		}
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err != nil && (err != io.EOF || len(line) == 0 && !long):
			return nil, err
		}
		l.number++
		if long {
			return nil, errLongLine
		}
		return line, nil
	}
}

// atHand reports whether a whole line can be read without waiting.
func (l *lineReader) atHand() bool {
	held, _ := l.r.Peek(l.r.Buffered())
	return bytes.IndexByte(held, '\n') >= 0
}
