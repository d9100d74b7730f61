package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub/dev"
	"github.com/nave-dev/nave/internal/run"
)

// lines is a log that may be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// nowhere is an address on which nobody listens.
func nowhere(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestAHubThatWaitsForItsPartsLives: it does not end, says that it lives and is not ready, names the parts in its log, and ends when it is told to.
func TestAHubThatWaitsForItsPartsLives(t *testing.T) {
	dir := t.TempDir()
	authority, err := dev.Open(filepath.Join(dir, "authority"))
	if err != nil {
		t.Fatal(err)
	}
	defer authority.Close()
	if _, _, err := authority.ServerTLS(time.Now()); err != nil {
		t.Fatal(err)
	}
	metrics := nowhere(t)
	t.Setenv("NAVE_TEST_PASSWORD", "hush")
	c := defaults()
	if err := decodeConfig("test", fmt.Appendf(nil, `data_dir: %s
api: {listen: "127.0.0.1:0", grpc_listen: "127.0.0.1:0"}
metrics: {listen: %q}
etcd: {endpoints: ["http://%s"]}
archive: {postgresql: {dsn: "postgres://nave@%s/nave"}}
overlay: {controller: "https://%s", ca_file: %s, username: nave, password_env: NAVE_TEST_PASSWORD}
`, filepath.Join(dir, "data"), metrics, nowhere(t), nowhere(t), nowhere(t), authority.Join("ca.pem")), &c); err != nil {
		t.Fatal(err)
	}
	said := &lines{}
	log := slog.New(slog.NewTextHandler(said, nil))
	p := &program{cfg: c, log: log, say: func(string, ...any) {}, ready: func(string, []byte) error { return errors.New("ready without its parts") }}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	g := run.NewGroup(ctx)
	g.Go("hub", p.launch)
	asked := 0
	for until := time.Now().Add(30 * time.Second); ; asked++ {
		waits := true
		for _, part := range []string{"etcd", "archive", "overlay"} {
			waits = waits && strings.Count(said.String(), "does not answer yet\" part="+part) > 1
		}
		for path, want := range map[string]string{"healthz": "200 ok\n", "readyz": "503 not ready: starting\n", "metrics": "503 not ready: starting\n"} {
			if got, err := asks("http://" + metrics + "/" + path); got != want && (asked > 0 || err == nil) {
				t.Errorf("%s says %q, %v", path, got, err)
			} else if err != nil {
				asked = -1 // it does not listen yet
			}
		}
		if waits && asked > 2 || t.Failed() {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("within 30 s the hub says\n%s", said)
		}
		select {
		case <-g.Context().Done():
			t.Fatalf("the hub ended: %v\n%s", g.Wait(), said)
		case <-time.After(20 * time.Millisecond):
		}
	}
	cancel()
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("the hub that was told to end: %v", err)
	}
	if strings.Contains(said.String(), "hush") {
		t.Errorf("the log tells the password:\n%s", said)
	}
}

func asks(url string) (string, error) {
	r, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return fmt.Sprint(r.StatusCode, " ", string(b)), err
}

// TestWhatDoesNotAnswerIsAskedAgain, and what refuses is not.
func TestWhatDoesNotAnswerIsAskedAgain(t *testing.T) {
	away := api.Errorf(api.CodeUnavailable, "away")
	for what, tt := range map[string]struct {
		says  []error // one after another; then it is open
		want  error
		after time.Duration
	}{
		"there":           {nil, nil, 0},
		"away for a time": {[]error{away, away, away}, nil, 3500 * time.Millisecond},
		"away for long":   {[]error{away, away, away, away, away, away}, nil, 17500 * time.Millisecond},
		"no connection":   {[]error{fmt.Errorf("log in: %w", &net.OpError{Op: "dial", Err: errors.New("refused")})}, nil, 500 * time.Millisecond},
		"no answer":       {[]error{fmt.Errorf("log in: %w", context.DeadlineExceeded)}, nil, 500 * time.Millisecond},
		"refuses":         {[]error{api.Invalid("etcd.username", "is wrong")}, api.Invalid("etcd.username", "is wrong"), 0},
		"refuses at last": {[]error{away, api.Errorf(api.CodeDenied, "no")}, api.Errorf(api.CodeDenied, "no"), 500 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			start, says := time.Now(), tt.says
			err := reach(t.Context(), slog.New(slog.DiscardHandler), "part", func(context.Context) error {
				if len(says) == 0 {
					return nil
				}
				err := says[0]
				says = says[1:]
				return err
			})
			if fmt.Sprint(err) != fmt.Sprint(tt.want) || time.Since(start) != tt.after {
				t.Errorf("%s: %v after %v, want %v after %v", what, err, time.Since(start), tt.want, tt.after)
			}
		})
	}
}
