package modelserver_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nave-dev/nave/internal/modelserver"
	"github.com/nave-dev/nave/internal/run"
)

// serve runs a server for the time of a test.
func serve(t *testing.T, cfg modelserver.Config) *modelserver.Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listener = l
	s, err := modelserver.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	g := run.NewGroup(context.Background())
	g.Go("model server", s.Run)
	t.Cleanup(func() {
		g.Stop()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// post asks a server and reads all of the answer.
func post(t *testing.T, s *modelserver.Server, door, body string, header ...string) (status int, contentType, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL()+"/"+door, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		q.Header.Set(header[i], header[i+1])
	}
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, a.Header.Get("Content-Type"), string(b)
}

const hello = `{"model": "m", "messages": [{"role": "user", "content": "hello"}]}`

// TestRefuses: what cannot be answered is an error in the form of the door, is noted, and is not recorded as a conversation.
func TestRefuses(t *testing.T) {
	say := modelserver.Rules(modelserver.Rule{When: modelserver.Asked("hello"), Then: modelserver.Say("hi")})
	for _, c := range []struct {
		name, door, body string
		cfg              modelserver.Config
		header           []string
		status           int
		has              string
	}{
		{name: "no key", door: "messages", body: hello, cfg: modelserver.Config{Key: "k"}, status: 401, has: "authentication_error"},
		{name: "wrong key", door: "chat/completions", body: hello, cfg: modelserver.Config{Key: "k"}, header: []string{"Authorization", "Bearer x"}, status: 401, has: `"error"`},
		{name: "no such door", door: "completions", body: hello, status: 404, has: "no door"},
		{name: "counting elsewhere", door: "responses/count_tokens", body: hello, status: 404, has: "no door"},
		{name: "no JSON", door: "responses", body: "{", status: 400, has: "unexpected end"},
		{name: "stored response", door: "responses", body: `{"input": "x", "previous_response_id": "resp_1"}`, status: 400, has: "stores no responses"},
		{name: "stored item", door: "responses", body: `{"input": [{"type": "item_reference", "id": "msg_1"}]}`, status: 400, has: "stores no items"},
		{name: "unknown item", door: "responses", body: `{"input": [{"type": "spell"}]}`, status: 400, has: `type is \"spell\"`},
		{name: "unknown role", door: "chat/completions", body: `{"messages": [{"role": "ghost", "content": "boo"}]}`, status: 400, has: `role is \"ghost\"`},
		{name: "unknown block", door: "messages", body: `{"messages": [{"role": "user", "content": [{"type": "spell"}]}]}`, status: 400, has: `type is \"spell\"`},
		{name: "arguments", door: "chat/completions", body: `{"messages": [{"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{"}}]}]}`, status: 400, has: "no JSON"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Script = say
			s := serve(t, c.cfg)
			status, _, text := post(t, s, c.door, c.body, c.header...)
			if status != c.status || !strings.Contains(text, c.has) {
				t.Errorf("answered %d %s; want %d and %q", status, text, c.status, c.has)
			}
			if len(s.Requests()) != 0 || len(s.Refused()) != 1 {
				t.Errorf("recorded %v, refused %q; want one that was refused", s.Requests(), s.Refused())
			}
		})
	}
}

// TestErrorsOfTheScript: a conversation without a rule, and answers that are wrong, are errors and never made up.
func TestErrorsOfTheScript(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer modelserver.Answer
		status int
		has    string
	}{
		{"on purpose", modelserver.Answer{Status: 429, Error: "slow down"}, 429, "slow down"},
		{"a tool that is not offered", modelserver.Answer{Calls: []modelserver.Call{{Tool: "rm"}}}, 500, "not offered"},
		{"nothing", modelserver.Answer{}, 500, "empty"},
		{"no error", modelserver.Answer{Status: 200}, 500, "no error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, modelserver.Config{Script: func(modelserver.Conversation) modelserver.Answer { return c.answer }})
			for _, door := range []modelserver.API{modelserver.Chat, modelserver.Messages} {
				if status, _, text := post(t, s, string(door), hello); status != c.status || !strings.Contains(text, c.has) {
					t.Errorf("%s answered %d %s; want %d and %q", door, status, text, c.status, c.has)
				}
			}
			if len(s.Requests()) != 2 {
				t.Errorf("%d requests are recorded, want 2", len(s.Requests()))
			}
		})
	}
	s := serve(t, modelserver.Config{Script: modelserver.Rules(), Keep: 1})
	if status, _, text := post(t, s, "chat/completions", hello); status != 501 || !strings.Contains(text, "no rule") {
		t.Errorf("without a rule: %d %s", status, text)
	}
	if status, _, text := post(t, s, "chat/completions", hello); status != 429 || !strings.Contains(text, "takes no more") {
		t.Errorf("beyond what is kept: %d %s", status, text)
	}
}

// TestEndsWithTheClient: an endless answer and one that never comes end when the client goes away, and with the longest time.
func TestEndsWithTheClient(t *testing.T) {
	for _, c := range []struct {
		name, body string
		answer     modelserver.Answer
	}{
		{"endless", strings.Replace(hello, "{", `{"stream": true, `, 1), modelserver.Answer{Endless: true, Pause: time.Millisecond}},
		{"endless document", hello, modelserver.Answer{Endless: true}},
		{"hanging", hello, modelserver.Answer{Hang: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, modelserver.Config{Script: func(modelserver.Conversation) modelserver.Answer { return c.answer }, Longest: 200 * time.Millisecond})
			begin := time.Now()
			_, _, text := post(t, s, "chat/completions", c.body)
			if took := time.Since(begin); took < 200*time.Millisecond {
				t.Errorf("ended after %v by itself, want not before 200ms:\n%s", took, text)
			}
			if strings.Contains(text, "[DONE]") || c.name == "endless" && strings.Count(text, "word ") < 3 {
				t.Errorf("the answer is %q", text)
			}
		})
	}
	s := serve(t, modelserver.Config{Script: func(modelserver.Conversation) modelserver.Answer { return modelserver.Answer{Endless: true} }, Longest: time.Hour})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL()+"/messages", strings.NewReader(strings.Replace(hello, "{", `{"stream": true, `, 1)))
	if err != nil {
		t.Fatal(err)
	}
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	if s.Answering() != 1 {
		t.Errorf("%d answers are being given, want 1", s.Answering())
	}
	cancel()
	for deadline := time.Now().Add(10 * time.Second); s.Answering() != 0; {
		if time.Now().After(deadline) {
			t.Fatal("the answer goes on 10s after the client went away")
		}
		<-time.After(time.Millisecond)
	}
}

func TestNewRefuses(t *testing.T) {
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := modelserver.New(modelserver.Config{Script: modelserver.Rules(), Listener: l}); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("a listener on %v is answered with %v", l.Addr(), err)
	}
	if _, err := modelserver.New(modelserver.Config{Script: modelserver.Rules()}); err == nil {
		t.Error("no listener is needed")
	}
}

func TestModelsAndCounting(t *testing.T) {
	s := serve(t, modelserver.Config{Script: modelserver.Rules(), Key: "k", Models: []string{"a", "b"}})
	q, err := http.NewRequest(http.MethodGet, s.URL()+"/models", nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("X-Api-Key", "k")
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil || a.StatusCode != 200 || !strings.Contains(string(b), `"id":"a"`) || !strings.Contains(string(b), `"last_id":"b"`) {
		t.Errorf("models: %d %s %v", a.StatusCode, b, err)
	}
	if status, _, text := post(t, s, "messages/count_tokens", hello, "X-Api-Key", "k"); status != 200 || strings.TrimSpace(text) != `{"input_tokens":17}` {
		t.Errorf("counted: %d %s", status, text)
	}
	if len(s.Requests()) != 0 {
		t.Errorf("recorded as conversations: %v", s.Requests())
	}
}
