package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

// bench is a hub, a folder and a contexts file for one transcript.
type bench struct {
	t        *testing.T
	hub      *testHub
	address  string
	dir      string
	terminal bool
	asking   bool
	plain    bool   // a terminal without colours
	token    string // the last join token that was printed
	stdin    string
}

func newBench(t *testing.T) *bench {
	hub, server := newTestHub(t)
	b := &bench{t: t, hub: hub, address: server.URL, dir: t.TempDir()}
	cs := &client.Contexts{}
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	cs.Put(client.Context{Name: "test", Address: server.URL, CA: ca, Token: testToken})
	cs.Put(client.Context{Name: "stranger", Address: server.URL, CA: ca, Token: "other"})
	cs.Put(client.Context{Name: "nobody", Address: "https://127.0.0.1:1", Token: testToken})
	if err := cs.Save(filepath.Join(b.dir, "config.yaml")); err != nil {
		t.Fatal(err)
	}
	return b
}

var (
	joinToken = regexp.MustCompile(`nave-join-v1\.\S+[0-9a-f]`)
	words     = regexp.MustCompile(`"[^"]*"|\S+`)
)

// nave runs the program and returns what it printed and its exit code.
func (b *bench) nave(args ...string) (stdout, stderr string, code int) {
	var out, errOut bytes.Buffer
	ctx, cancel := context.WithCancel(b.t.Context()) // without a deadline, as in a shell
	defer cancel()
	defer time.AfterFunc(30*time.Second, cancel).Stop()
	code = b.app(&out, &errOut).run(ctx, args)
	return out.String(), errOut.String(), code
}

// app is one run of the program at the bench.
func (b *bench) app(out, errOut io.Writer) *app {
	env := map[string]string{"NAVE_CONFIG": filepath.Join(b.dir, "config.yaml")}
	return &app{in: strings.NewReader(b.stdin), out: &sink{w: out}, errOut: errOut, env: func(k string) string { return env[k] },
		now: func() time.Time { return testNow }, height: func() int { return 0 }, interval: 10 * time.Millisecond,
		terminal: b.terminal, colours: b.terminal && !b.plain, interactive: b.asking}
}

// tidy takes out what differs from run to run.
func (b *bench) tidy(s string) string {
	if t := joinToken.FindString(s); t != "" {
		b.token = t
	}
	s = joinToken.ReplaceAllString(s, "<join token>")
	s = strings.ReplaceAll(s, b.address, "https://hub:8443")
	s = strings.ReplaceAll(s, "\x1b", "<ESC>")
	return strings.ReplaceAll(s, b.dir+"/", "")
}

func (b *bench) directive(d *datadriven.TestData) string {
	switch d.Cmd {
	case "file": // file name=x: writes the input
		var name string
		d.ScanArgs(b.t, "name", &name)
		if err := os.MkdirAll(filepath.Dir(filepath.Join(b.dir, name)), 0o700); err != nil {
			b.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(d.Input+"\n"), 0o600); err != nil {
			b.t.Fatal(err)
		}
		return ""
	case "terminal": // standard output is a terminal from now on
		b.terminal = true
		return ""
	case "pipe": // neither is a terminal any more
		b.terminal, b.asking = false, false
		return ""
	case "asking": // standard input is a terminal from now on
		b.asking = true
		return ""
	case "cat": // prints a file of the folder, with its mode
		path := filepath.Join(b.dir, d.CmdArgs[0].Key)
		text, err := os.ReadFile(path)
		if err != nil {
			b.t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			b.t.Fatal(err)
		}
		return b.tidy(fmt.Sprintf("%v\n%s", info.Mode(), text))
	case "nave": // the first line holds the arguments (@ begins a path in the folder), the rest is standard input
		first, rest, _ := strings.Cut(d.Input, "\n")
		var args []string
		for _, w := range words.FindAllString(first, -1) {
			if strings.HasPrefix(w, "@") {
				w = filepath.Join(b.dir, w[1:])
			}
			args = append(args, strings.Trim(w, `"`))
		}
		b.stdin = rest
		out, errOut, code := b.nave(args...)
		var all strings.Builder
		all.WriteString(out)
		for _, l := range strings.Split(strings.TrimSuffix(errOut, "\n"), "\n") {
			if l != "" {
				fmt.Fprintf(&all, "stderr: %s\n", l)
			}
		}
		fmt.Fprintf(&all, "exit %d\n", code)
		return b.tidy(all.String())
	case "hub": // changes what the hub holds
		return b.script(d)
	}
	return "unknown directive " + d.Cmd
}

func (b *bench) script(d *datadriven.TestData) string {
	h := b.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, arg := range d.CmdArgs {
		switch arg.Key {
		case "events": // one JSON object a line
			h.events = nil
			for _, l := range strings.Split(d.Input, "\n") {
				e := &navev1.Event{}
				if err := protojson.Unmarshal([]byte(l), e); err != nil {
					b.t.Fatal(err)
				}
				h.events = append(h.events, e)
			}
		case "session":
			s := &navev1.Session{}
			if err := protojson.Unmarshal([]byte(d.Input), s); err != nil {
				b.t.Fatal(err)
			}
			h.sessions = append(h.sessions, s)
		case "approval":
			m := &navev1.Approval{}
			if err := protojson.Unmarshal([]byte(d.Input), m); err != nil {
				b.t.Fatal(err)
			}
			h.asked = append(h.asked, m)
		case "state":
			h.status = &navev1.StatusResponse{}
			if err := protojson.Unmarshal([]byte(d.Input), h.status); err != nil {
				b.t.Fatal(err)
			}
		case "dead":
			m := &navev1.DeadLetter{}
			if err := protojson.Unmarshal([]byte(d.Input), m); err != nil {
				b.t.Fatal(err)
			}
			h.dead = append(h.dead, m)
		case "side": // one JSON object a line
			for _, l := range strings.Split(d.Input, "\n") {
				e := &navev1.Event{}
				if err := protojson.Unmarshal([]byte(l), e); err != nil {
					b.t.Fatal(err)
				}
				h.side = append(h.side, e)
			}
		case "notes":
			return strings.Join(h.notes, "\n") + "\n"
		case "explain":
			h.explain = &navev1.ExplainResponse{}
			if err := protojson.Unmarshal([]byte(d.Input), h.explain); err != nil {
				b.t.Fatal(err)
			}
		case "status":
			s := &navev1.ClusterStatus{}
			if err := protojson.Unmarshal([]byte(d.Input), s); err != nil {
				b.t.Fatal(err)
			}
			h.clusters[arg.Vals[0]].Status = s
		case "cuts":
			h.cuts, h.streams = nil, 0
			for _, v := range arg.Vals {
				n, err := strconv.Atoi(v)
				if err != nil {
					b.t.Fatal(err)
				}
				h.cuts = append(h.cuts, n)
			}
		case "lose": // the next answer of this method is lost
			h.rpcOnce[arg.Vals[0]] = connect.NewError(connect.CodeUnavailable, errors.New("the answer was lost"))
		case "conflict":
			h.rpcOnce[arg.Vals[0]] = refuse("conflict", "", "changed meanwhile")
		case "show":
			return fmt.Sprintf("signals %v calls %d\n", h.payloads, h.calls)
		default:
			b.t.Fatalf("hub %s is not known", arg.Key)
		}
	}
	return ""
}

// TestTranscripts runs the dialogues of testdata/transcripts; -rewrite writes what the program says into them.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		b := newBench(t)
		datadriven.RunTest(t, path, func(_ *testing.T, d *datadriven.TestData) string { return b.directive(d) })
	})
}
