package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

func TestTheJoinTokenStandsAloneAndIsComplete(t *testing.T) {
	b := newBench(t)
	out, errOut, code := b.nave("clusters", "register", "east")
	if code != 0 || strings.Count(out, "\n") != 1 || strings.Contains(errOut, "nave-join") {
		t.Fatalf("exit %d, out %q, err %q", code, out, errOut)
	}
	got, err := client.ParseJoinToken(out)
	cs, _ := client.LoadContexts(filepath.Join(b.dir, "config.yaml"))
	test, _ := cs.Find("test")
	c, err2 := client.New(test.Config())
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	defer c.Close()
	if _, err := c.System.Info(t.Context(), &navev1.InfoRequest{}); err != nil {
		t.Fatal(err)
	}
	want := client.JoinToken{Address: b.address, AuthorityHash: sha256.Sum256(c.Authority().Raw), ClusterID: "01CLUSTER", Secret: "hush"}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestYAMLOfGetIsUnchangedWhenApplied(t *testing.T) {
	b := newBench(t)
	b.stdin = "apiVersion: nave.dev/v1\nkind: Environment\nmetadata: {name: e, labels: {a: b}}\nspec: {files: [{path: x, content: \" odd\\ttext \\n\", mode: 0o600}], volumes: [{name: v, time_to_live: 36h}]}\n"
	if _, errOut, code := b.nave("apply", "-f", "-"); code != 0 {
		t.Fatal(errOut)
	}
	out, _, code := b.nave("get", "environments", "-o", "yaml")
	b.stdin = out
	again, errOut, code2 := b.nave("apply", "-f", "-")
	if code != 0 || code2 != 0 || again != "environment/e unchanged\n" {
		t.Errorf("%q %q of\n%s", again, errOut, out)
	}
}

func TestFoldersAreReadByName(t *testing.T) {
	b := newBench(t)
	dir := filepath.Join(b.dir, "defs")
	if err := os.MkdirAll(filepath.Join(dir, "below"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, def := range map[string]string{"b.yaml": "two", "a.yml": "one", "c.json": "three", "d.txt": "no", "below/e.yaml": "no"} {
		text := `{"apiVersion": "nave.dev/v1", "kind": "Environment", "metadata": {"name": "` + def + `"}, "spec": {}}`
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, errOut, code := b.nave("apply", "-f", dir)
	if want := "environment/one created\nenvironment/two created\nenvironment/three created\n"; code != 0 || out != want {
		t.Errorf("exit %d: %q %q", code, out, errOut)
	}
}

func TestEveryCodeHasAnExitCode(t *testing.T) {
	for _, code := range api.Codes() {
		if exits[code] == 0 {
			t.Errorf("%s has none: it would look like success", code)
		}
	}
}

func TestInterruption(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("interrupt signal received"))
	var out, errOut bytes.Buffer
	code := run(ctx, []string{"get", "agents"}, strings.NewReader(""), &out, &errOut, func(k string) string {
		return map[string]string{"NAVE_CONFIG": filepath.Join(b.dir, "config.yaml")}[k]
	})
	if code != exitInterrupted || errOut.String() != "interrupted\n" {
		t.Errorf("exit %d: %q", code, errOut.String())
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestALostReaderIsAFailure(t *testing.T) {
	if code := run(t.Context(), []string{"version"}, strings.NewReader(""), brokenPipe{}, &bytes.Buffer{}, func(string) string { return "" }); code != exitFailure {
		t.Errorf("exit %d", code)
	}
}

func TestKindsAreInTheOrderOfTheAPI(t *testing.T) {
	for i, k := range api.Kinds() {
		if kinds[i].name != k {
			t.Errorf("kind %d is %s, want %s", i, kinds[i].name, k)
		}
	}
}
