package archive

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
)

// values is a row of a result, as a driver gives it.
type values []any

func (v values) Scan(dest ...any) error {
	if len(dest) != len(v) {
		return errors.New("another number of columns")
	}
	for i, d := range dest {
		switch d := d.(type) {
		case *string:
			switch s := v[i].(type) {
			case []byte:
				*d = string(s)
			case string:
				*d = s
			}
		case *[]byte:
			*d, _ = v[i].([]byte)
		case *int64:
			*d, _ = v[i].(int64)
		}
	}
	return nil
}

// FuzzEventRow: columns of an event are an error that names the column, or an event that makes the same row again; and an
// event that a session may have comes back as it was.
func FuzzEventRow(f *testing.F) {
	f.Add("1.2/3", int64(1), int64(9), "log", "text", "[1,2]", `{"a":"b"}`)
	f.Add("hub", int64(-1), int64(math.MinInt64), "", "\x00", "null", "null")
	f.Add("", int64(math.MaxInt64), int64(0), "log", "\xff", "[-1]", `{"a":1}`)
	f.Add("1.2/3", int64(0), int64(1), "log", "", "[]", `{"A":"1","a":"\u0000"}`)
	f.Add("1.2/3", int64(0), int64(1), "log", "", "[18446744073709551616]", `{`)
	f.Fuzz(func(t *testing.T, source string, number, at int64, typ, text, signals, attributes string) {
		in := eventRow{session: "s", number: number, source: source, sourceNumber: number, org: "o", typ: typ, time: at, cluster: "c", text: text, signals: signals, outcome: typ, attributes: attributes}
		var r eventRow
		if err := r.scan(values{in.session, in.number, in.source, in.sourceNumber, in.org, in.typ, in.time, in.cluster, in.text, in.signals, in.outcome, in.attributes}); err != nil || r != in {
			t.Fatalf("%+v became %+v, %v", in, r, err)
		}
		e, err := r.event()
		if err != nil {
			var row *rowError
			if !errors.As(err, &row) || row.what == "" {
				t.Errorf("an error that names no column: %v", err)
			}
			return
		}
		if number < 0 {
			if e.Number <= math.MaxInt64 {
				t.Errorf("number %d is read as %d", number, e.Number)
			}
			return
		}
		again, err := rowOf("o", e.Source.String(), &e)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		back, err := again.event()
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if len(e.Signals) == 0 {
			e.Signals = nil // written as nothing
		}
		if len(e.Attributes) == 0 {
			e.Attributes = nil
		}
		if diff := cmp.Diff(e, back); diff != "" {
			t.Errorf("(-first +second):\n%s", diff)
		}
	})
}

// FuzzSettledRow: columns of a settled signal are an error that names the column, or a signal that makes the same row again.
func FuzzSettledRow(f *testing.F) {
	chain, err := json.Marshal([]api.Origin{{Session: "s", Agent: "a", Key: "k", Signal: "g"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(chain), make([]byte, 32), []byte("payload"), int64(1), int64(2), "done")
	f.Add("null", []byte{}, []byte{}, int64(-1), int64(-1), "")
	f.Add(`[{"Session":1}]`, make([]byte, 40), []byte{0xff}, int64(math.MaxInt64), int64(1<<40), "\x00")
	f.Fuzz(func(t *testing.T, origin string, hash, payload []byte, sequence, deliveries int64, text string) {
		in := settledRow{signal: "g", org: "o", session: "s", sequence: sequence, ref: text, sender: text, payload: payload, acceptedAt: sequence, deliveries: deliveries, outcome: text, settledAt: deliveries,
			reason: text, agentName: text, replayOf: text, origin: origin, approval: text}
		v := values(in.args(dialect{}))
		v[7] = hash
		var r settledRow
		if err := r.scan(v); err != nil {
			var row *rowError
			if !errors.As(err, &row) || row.what == "" {
				t.Errorf("an error that names no column: %v", err)
			}
			return
		}
		if !bytes.Equal(r.payload, payload) || r.sequence != sequence {
			t.Errorf("%+v became %+v", in, r)
		}
		s := r.settled()
		if sequence < 0 || deliveries < 0 || deliveries > math.MaxUint32 {
			return // no row of ours
		}
		again, err := settledRowOf("o", &s)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if !again.same(&r) || again.deliveries != deliveries {
			t.Errorf("%+v became %+v", r, again)
		}
	})
}

// FuzzBody: a decision or a terminated session that was stored as JSON is an error, or is stored as the same again.
func FuzzBody(f *testing.F) {
	for _, v := range []any{
		api.Decision{Session: "s", Epoch: api.Epoch{Incarnation: 1, N: 2}, Time: time.Unix(9, 9).UTC(), Cluster: "c", Candidates: []api.Candidate{{Name: "n", Terms: []api.ScoreTerm{{Name: "t", Value: -1}}}}},
		api.Session{ID: "s", Labels: map[string]string{"a": "b"}, CreatedAt: time.Unix(9, 9).UTC(), Pauses: []api.PauseReason{"person"}, Assignment: &api.Assignment{Cluster: "c", StopAfter: api.StopNever}},
	} {
		b, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, s := range []string{"", "null", "{}", `{"Time":"9999-12-31T23:59:59Z"}`, `{"session":"a","Session":"b"}`, `{"Assignment":{"StopAfter":9223372036854775808}}`, "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		body(t, b, new(api.Decision), new(api.Decision))
		body(t, b, new(api.Session), new(api.Session))
	})
}

func body[N any](t *testing.T, b []byte, first, second *N) {
	t.Helper()
	if json.Unmarshal(b, first) != nil {
		return
	}
	again, err := json.Marshal(first)
	if err != nil {
		t.Fatalf("what was read cannot be written: %v", err)
	}
	if err := json.Unmarshal(again, second); err != nil {
		t.Fatalf("what was written cannot be read: %v", err)
	}
	third, err := json.Marshal(second)
	if err != nil || !bytes.Equal(again, third) {
		t.Errorf("%s became %s, %v", again, third, err)
	}
}

// FuzzPosition: a place in the list of dead letters is the one that was given, or is refused with its field.
func FuzzPosition(f *testing.F) {
	f.Add(position(&settledRow{settledAt: 9, signal: "01J00000000000000000000000"}))
	for _, s := range []string{"", "/", "9", "-1/a/b", "9223372036854775808/a", strings.Repeat("9", 2_000)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		at, signal, err := parsePosition(s)
		if err != nil {
			if api.FieldOf(err) != "page_token" || api.CodeOf(err) != api.CodeInvalid || len(err.Error()) > 1000 {
				t.Errorf("refused as %s, field %q, %d bytes", api.CodeOf(err), api.FieldOf(err), len(err.Error()))
			}
			return
		}
		if at2, signal2, err := parsePosition(position(&settledRow{settledAt: at, signal: signal})); at2 != at || signal2 != signal || err != nil {
			t.Errorf("%q became %d/%q, %v", s, at2, signal2, err)
		}
		if !utf8.ValidString(signal) || strings.ContainsRune(signal, 0) {
			t.Errorf("%q goes to the database", signal)
		}
	})
}
