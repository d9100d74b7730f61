package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke/spoketest"
)

func parse(t *testing.T, env map[string]string, args ...string) (options, error) {
	t.Helper()
	var o options
	f := pflag.NewFlagSet("run", pflag.ContinueOnError)
	o.bind(f)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	return o, o.complete(func(k string) string { return env[k] })
}

func program(t *testing.T) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "nave-harness")
	if err := os.WriteFile(p, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := "--harness=" + program(t)
	o, err := parse(t, map[string]string{"HOME": "/home/x", tokenVariable: "from-env"}, h)
	if err != nil {
		t.Fatal(err)
	}
	if o.DataDir != "/home/x/.local/state/nave-spoke" || o.JoinToken != "from-env" || !cmp.Equal(o.Flavors, map[string]int{"small": 8}) {
		t.Fatalf("defaults = %+v", o)
	}
	o, err = parse(t, map[string]string{"XDG_STATE_HOME": "/state", tokenVariable: "from-env"}, h, "--join-token-file="+file, "--flavor=small=2", "--flavor=large=1")
	if err != nil {
		t.Fatal(err)
	}
	if o.DataDir != "/state/nave-spoke" || o.JoinToken != "from-file" || !cmp.Equal(o.Flavors, map[string]int{"small": 2, "large": 1}) {
		t.Fatalf("options = %+v", o)
	}
}

func TestOptionsNameTheFlag(t *testing.T) {
	h := "--harness=" + program(t)
	for name, c := range map[string]struct {
		field string
		args  []string
	}{
		"flavor without count": {"--flavor", []string{h, "--flavor=small"}},
		"flavor twice":         {"--flavor", []string{h, "--flavor=small=1", "--flavor=small=2"}},
		"flavor of none":       {"--flavor", []string{h, "--flavor=small=0"}},
		"no such harness":      {"--harness", []string{"--harness=/nonexistent"}},
		"two tokens":           {"--join-token", []string{h, "--join-token=a", "--join-token-file=b"}},
		"no token file":        {"--join-token-file", []string{h, "--join-token-file=/nonexistent", "--force-enroll"}},
		"a folder of tokens":   {"--join-token-file", []string{h, "--join-token-file=/"}},
		"no such level":        {"--log-level", []string{h, "--log-level=loud"}},
		"no home":              {"--data-dir", []string{h}},
	} {
		t.Run(name, func(t *testing.T) {
			env := map[string]string{"HOME": "/home/x"}
			if name == "no home" {
				env = nil
			}
			if _, err := parse(t, env, c.args...); api.FieldOf(err) != c.field {
				t.Fatalf("complete = %v, want an error about %s", err, c.field)
			}
		})
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	c := http.Client{Timeout: 5 * time.Second}
	r, err := c.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// The whole program on fakes: it serves, becomes ready with the connection, refuses a second of its kind, and ends.
func TestRunServesUntilItIsEnded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	o := options{DataDir: t.TempDir(), MetricsListen: address, JournalMax: 1 << 20}
	link := &spoketest.Link{}
	var away atomic.Bool
	away.Store(true)
	ready := func() error {
		if away.Load() {
			return errors.New("the platform is away")
		}
		return nil
	}
	fakes := func(context.Context, options, *slog.Logger) (parts, error) {
		return parts{Runtime: &spoketest.Runtime{Room: 1}, Door: &spoketest.Door{}, Link: link, Ready: ready}, nil
	}
	log := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	g := run.NewGroup(ctx)
	t.Cleanup(func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Errorf("run = %v, want nil after an interrupt", err)
		}
	})
	g.Go("program", func(ctx context.Context) error { return runSpoke(ctx, o, log, fakes) })
	await(t, "/healthz", func() bool { code, _ := get(t, "http://"+address+"/healthz"); return code == 200 })
	if code, body := get(t, "http://"+address+"/readyz"); code != 503 {
		t.Fatalf("/readyz without a hub = %d %s, want 503", code, body)
	}
	await(t, "the link", func() bool { _, err := link.Connect(t.Context(), api.Welcome{}); return err == nil })
	if code, body := get(t, "http://"+address+"/readyz"); code != 503 || body != "the platform is away\n" {
		t.Fatalf("/readyz with a hub and without a platform = %d %s, want 503 and why", code, body)
	}
	away.Store(false)
	if code, body := get(t, "http://"+address+"/readyz"); code != 200 {
		t.Fatalf("/readyz with a hub = %d %s, want 200", code, body)
	}
	if _, body := get(t, "http://"+address+"/metrics"); !strings.Contains(body, "nave_spoke_sessions 0") {
		t.Fatalf("/metrics is without nave_spoke_sessions:\n%s", body)
	}
	if err := runSpoke(t.Context(), o, log, fakes); api.CodeOf(err) != api.CodeInUse {
		t.Fatalf("second spoke of the same directory = %v, want CodeInUse", err)
	}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 10 s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}
