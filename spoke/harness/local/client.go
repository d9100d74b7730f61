package local

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"unicode/utf8"

	"github.com/nave-dev/nave/api"
)

// maxAnswer bounds what a client reads.
const maxAnswer = 4 << 20

// Client calls the local API of a harness. It holds no connection between calls.
type Client struct{ http *http.Client }

// Dial makes a client for the socket at path. It connects with each call.
func Dial(path string) *Client {
	return &Client{&http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}}}
}

// Signal sends a signal and returns when the hub has accepted it. CodeUnavailable: it may have been accepted; with the same
// idempotency key it is safe to repeat.
func (c *Client) Signal(ctx context.Context, r SignalRequest) (SignalAnswer, error) {
	body := struct {
		Agent          string `json:"agent"`
		Key            string `json:"key"`
		Payload        string `json:"payload"`
		Encoding       string `json:"encoding,omitempty"`
		IdempotencyKey string `json:"idempotency_key,omitempty"`
	}{r.Agent, r.Key, string(r.Payload), "", r.IdempotencyKey}
	if !utf8.Valid(r.Payload) || len(r.Payload) > maxBody/8 { // a character may take six bytes
		body.Payload, body.Encoding = base64.StdEncoding.EncodeToString(r.Payload), encodingBase64
	}
	var out SignalAnswer
	err := c.call(ctx, http.MethodPost, "/v1/signal", body, &out)
	return out, err
}

// Emit puts a note into the session's log.
func (c *Client) Emit(ctx context.Context, text string, attributes map[string]string) error {
	body := struct {
		Text       string            `json:"text"`
		Attributes map[string]string `json:"attributes,omitempty"`
	}{text, attributes}
	return c.call(ctx, http.MethodPost, "/v1/emit", body, &struct{}{})
}

// State says where the caller runs.
func (c *Client) State(ctx context.Context) (State, error) {
	var out State
	err := c.call(ctx, http.MethodGet, "/v1/state", nil, &out)
	return out, err
}

func (c *Client) call(ctx context.Context, method, path string, body, into any) error {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://harness"+path, content)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return api.Errorf(api.CodeUnavailable, "call the harness: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return api.Errorf(api.CodeUnavailable, "read the harness's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var f failure
		if err := json.Unmarshal(b, &f); err != nil || !slices.Contains(api.Codes(), f.Error.Code) {
			return api.Errorf(api.CodeInternal, "the harness answered %s", resp.Status)
		}
		return f.Error.asError()
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("decode the harness's answer: %w", err)
	}
	return nil
}
