package local

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/nave-dev/nave/api"
)

// FuzzDecode: whatever comes, a body is refused with a field, or is within all bounds.
func FuzzDecode(f *testing.F) {
	for _, body := range []string{
		`{"agent":"reviewer","key":"pr 7","payload":"look","idempotency_key":"k"}`,
		`{"agent":"a","key":"k","payload":"AAE=","encoding":"base64"}`,
		`{"text":"half done","attributes":{"part":"1/2"}}`,
		`{"agent":"a","agent":"a"}`, `{"agent":null}`, `{"\u0061gent":"a","key":"\ud800"}`, `[]`, `{`, "\xff", ` {} `, `{"text":{}}`, `{""`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if r, err := decodeSignal(body); err == nil {
			if api.ValidateName("", r.Agent) != nil || api.ValidateSessionKey("", r.Key) != nil || api.ValidateIdempotencyKey("", r.IdempotencyKey) != nil || len(r.Payload) > MaxPayload {
				t.Errorf("taken: %+v", r)
			}
		} else if api.FieldOf(err) == "" || statuses[api.CodeOf(err)]/100 != 4 {
			t.Errorf("refused as %s, field %q: %v", api.CodeOf(err), api.FieldOf(err), err)
		}
		text, attributes, err := decodeNote(body)
		if err != nil {
			if api.FieldOf(err) == "" || statuses[api.CodeOf(err)]/100 != 4 {
				t.Errorf("refused as %s, field %q: %v", api.CodeOf(err), api.FieldOf(err), err)
			}
			return
		}
		if text == "" || len(text) > MaxText || !utf8.ValidString(text) || len(attributes) > MaxAttributes {
			t.Errorf("taken: %q, %v", text, attributes)
		}
		for name, value := range attributes {
			if !validAttribute(name) || len(value) > MaxValue || !utf8.ValidString(value) {
				t.Errorf("taken: %q: %q", name, value)
			}
		}
	})
}

// FuzzAnswer: whatever stands where the harness should answer, a program gets an answer, or an error of one of the known
// codes and of bounded length.
func FuzzAnswer(f *testing.F) {
	for _, body := range []string{`{"signal_id":"g","session_id":"s","sequence":1}`, `{"error":{"code":"invalid","field":"agent","message":"m"}}`, `{"error":{"code":"new"}}`, `{"error":null}`, "", "null", "\xff", `{"sequence":-1}`} {
		f.Add(200, []byte(body))
		f.Add(400, []byte(body))
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 200 || status > 599 {
			return
		}
		c := &Client{http: &http.Client{Transport: answering{status, body}}}
		_, err := c.Signal(t.Context(), SignalRequest{})
		if status != http.StatusOK && (err == nil || !slices.Contains(api.Codes(), api.CodeOf(err))) {
			t.Errorf("status %d: %v", status, err)
		}
		if err != nil && len(err.Error()) > maxAnswer+1000 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	})
}

// answering answers every request with the same.
type answering struct {
	status int
	body   []byte
}

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: a.status, Status: http.StatusText(a.status), Body: io.NopCloser(bytes.NewReader(a.body)), Request: r}, nil
}
