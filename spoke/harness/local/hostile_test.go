package local_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke/harness/local"
)

// raw sends one request as it is and reads the answer.
func raw(t *testing.T, path, request string) (status int, body string) {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Logf("write: %v", err) // it may have answered before it has read all
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%.80q: %v", request, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if kind := resp.Header.Get("Content-Type"); kind != "application/json" {
		t.Errorf("%.80q: answered as %q: %s", request, kind, b)
	}
	return resp.StatusCode, string(b)
}

func post(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

// TestBodiesThatAreRefused: each is refused by its field, and nothing of it reaches the harness.
func TestBodiesThatAreRefused(t *testing.T) {
	b := &backend{}
	path, _ := serve(t, b)
	many := map[string]string{}
	for i := range local.MaxAttributes + 1 {
		many[fmt.Sprint("a", i)] = "x"
	}
	list, err := json.Marshal(many)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", local.MaxPayload+1)
	for _, tt := range []struct {
		call, body  string
		status      int
		code, field string
	}{
		{"signal", `{"agent":"a","key":"k","payload":"p","extra":1}`, 400, "invalid", "extra"},
		{"signal", `{"Agent":"a","key":"k","payload":"p"}`, 400, "invalid", "Agent"},
		{"signal", `{"agent":"a","agent":"b","key":"k"}`, 400, "invalid", "agent"},
		{"signal", `{"agent":7,"key":"k"}`, 400, "invalid", "agent"},
		{"signal", `{"agent":"A B","key":"k"}`, 400, "invalid", "agent"},
		{"signal", `{"key":"k","payload":"p"}`, 400, "invalid", "agent"},
		{"signal", `{"agent":"a","payload":"p"}`, 400, "invalid", "key"},
		{"signal", `{"agent":"a","key":"a\nb"}`, 400, "invalid", "key"},
		{"signal", `{"agent":"a","key":"` + strings.Repeat("k", 257) + `"}`, 400, "invalid", "key"},
		{"signal", `{"agent":"a","key":"k","idempotency_key":"nave.approval/x"}`, 400, "invalid", "idempotency_key"},
		{"signal", `{"agent":"a","key":"k","payload":"p","encoding":"hex"}`, 400, "invalid", "encoding"},
		{"signal", `{"agent":"a","key":"k","payload":"!","encoding":"base64"}`, 400, "invalid", "payload"},
		{"signal", `{"agent":"a","key":"k","payload":"` + long + `"}`, 413, "limit", "payload"},
		{"signal", `{"agent":"a","key":"k","encoding":"base64","payload":"` + base64.StdEncoding.EncodeToString([]byte(long)) + `"}`, 413, "limit", "payload"},
		{"signal", `{"agent":"a","key":"k","payload":"` + long + long + `"}`, 413, "limit", "body"},
		{"signal", `{"agent":"a","key":"k"} {}`, 400, "invalid", "body"},
		{"signal", `{"agent":"a","key":"k"`, 400, "invalid", "body"},
		{"signal", `{"agent":"a","key":"k",}`, 400, "invalid", "body"},
		{"signal", "{\"agent\":\"a\",\"key\":\"\xff\"}", 400, "invalid", "body"},
		{"signal", `["agent"]`, 400, "invalid", "body"},
		{"signal", ``, 400, "invalid", "body"},
		{"signal", `null`, 400, "invalid", "body"},
		{"signal", strings.Repeat("[", 100_000), 400, "invalid", "body"},
		{"signal", `{"agent":` + strings.Repeat("[", 100_000), 400, "invalid", "body"},
		{"emit", `{"text":""}`, 400, "invalid", "text"},
		{"emit", `{"text":"` + strings.Repeat("x", local.MaxText+1) + `"}`, 413, "limit", "text"},
		{"emit", `{"text":"x","attributes":` + string(list) + `}`, 413, "limit", "attributes"},
		{"emit", `{"text":"x","attributes":{"a b":"x"}}`, 400, "invalid", "attributes"},
		{"emit", `{"text":"x","attributes":{"":"x"}}`, 400, "invalid", "attributes"},
		{"emit", `{"text":"x","attributes":{"` + strings.Repeat("a", local.MaxName+1) + `":"x"}}`, 400, "invalid", "attributes"},
		{"emit", `{"text":"x","attributes":{"a":"` + strings.Repeat("x", local.MaxValue+1) + `"}}`, 413, "limit", "attributes"},
		{"emit", `{"text":"x","attributes":{"a":1}}`, 400, "invalid", "attributes"},
	} {
		status, body := raw(t, path, post("/v1/"+tt.call, tt.body))
		var got struct {
			Error struct{ Code, Field, Message string }
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatalf("%.80s: %s: %v", tt.body, body, err)
		}
		if e := got.Error; status != tt.status || e.Code != tt.code || e.Field != tt.field || e.Message == "" {
			t.Errorf("%.80s: %d %s", tt.body, status, body)
		}
	}
	if signals, notes := b.got(); len(signals)+len(notes) > 0 {
		t.Errorf("the harness got %v, %v", signals, notes)
	}
	if err := local.Dial(path).Emit(t.Context(), "still here", nil); err != nil {
		t.Error(err)
	}
}

func TestCallsThatThereAreNot(t *testing.T) {
	path, _ := serve(t, &backend{})
	for request, want := range map[string]int{
		"GET /v1/signal HTTP/1.1\r\nHost: x\r\n\r\n":                                                  405,
		"DELETE /v1/state HTTP/1.1\r\nHost: x\r\n\r\n":                                                405,
		"GET /v1/secrets HTTP/1.1\r\nHost: x\r\n\r\n":                                                 404,
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n":                                                           404,
		post("/v1/emit", `{"text":"x"}`):                                                              200,
		"GET /v1/state HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":                              200,
		"POST /v1/emit?x=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}":                        400,
		"POST /v1/emit HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n": 400,
	} {
		if status, body := raw(t, path, request); status != want {
			t.Errorf("%q: %d %s, want %d", request, status, body, want)
		}
	}
}

// TestCallsAtOnce: what is beyond the bound is refused and not kept waiting; calls end with the server.
func TestCallsAtOnce(t *testing.T) {
	const atOnce = 16
	b := &backend{hold: make(chan struct{}), inside: make(chan struct{}, atOnce)}
	path, stop := serve(t, b)
	errs := make(chan error, atOnce)
	g := run.NewGroup(t.Context())
	for range atOnce {
		g.Go("signal", func(ctx context.Context) error {
			_, err := local.Dial(path).Signal(ctx, local.SignalRequest{Agent: "a", Key: "k"})
			errs <- err
			return nil
		})
	}
	for range atOnce {
		<-b.inside
	}
	if status, body := raw(t, path, "GET /v1/state HTTP/1.1\r\nHost: x\r\n\r\n"); status != 429 || !strings.Contains(body, `"limit"`) {
		t.Errorf("one more: %d %s", status, body)
	}
	stop()
	for range atOnce {
		if err := <-errs; api.CodeOf(err) != api.CodeUnavailable {
			t.Errorf("a call that the end of the server ended: %v", err)
		}
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is there after the end: %v", err)
	}
}

// TestConnectionsThatSayNothing take none of the calls' places, and their own places are few.
func TestConnectionsThatSayNothing(t *testing.T) {
	path, _ := serve(t, &backend{})
	var idle []net.Conn
	defer func() {
		for _, c := range idle {
			c.Close()
		}
	}()
	dial := func() net.Conn {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
		return c
	}
	for range 100 { // each gives its place back
		if _, err := local.Dial(path).State(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for range 56 { // the places of calls that have just ended may not be free yet
		dial()
	}
	if _, err := local.Dial(path).State(t.Context()); err != nil {
		t.Errorf("beside 56: %v", err)
	}
	for range 8 {
		dial()
	}
	c := dial()
	if err := c.SetReadDeadline(time.Now().Add(3 * time.Second)); err != nil { // those that are kept are let go after five
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("one too many is kept: %v", err)
	}
}

func TestSocketIsItsUsersAlone(t *testing.T) {
	path, _ := serve(t, &backend{})
	fi, err := os.Stat(path)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
}

func TestConfig(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for what, c := range map[string]local.Config{
		"no backend": {Path: "/tmp/x", Log: log},
		"no log":     {Path: "/tmp/x", Backend: &backend{}},
		"relative":   {Path: "x", Backend: &backend{}, Log: log},
		"long":       {Path: "/" + strings.Repeat("x", 107), Backend: &backend{}, Log: log},
	} {
		if _, err := local.New(c); api.CodeOf(err) != api.CodeInvalid {
			t.Errorf("%s: %v", what, err)
		}
	}
	path, _ := serve(t, &backend{})
	s, err := local.New(local.Config{Path: path, Backend: &backend{}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); api.CodeOf(err) != api.CodeInUse {
		t.Errorf("a second one: %v", err)
	}
}
