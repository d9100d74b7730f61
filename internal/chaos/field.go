package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
	"github.com/nave-dev/nave/internal/federation"
	"github.com/nave-dev/nave/internal/history"
)

// spokes are the clusters of the field.
var spokes = []string{"one", "two", "three"}

// agentName is the agent that all sessions are of.
const agentName = "witness"

// field is the federation under test.
type field struct {
	*federation.Federation
	client  *client.Client
	hub     *federation.Process
	spokes  map[string]*federation.Process
	witness string
	show    io.Writer
}

// newField starts a hub and its spokes, and applies the agent.
func newField(ctx context.Context, bin, dir string, show io.Writer) (*field, error) {
	fed, err := federation.New(federation.Config{Bin: bin, Dir: dir})
	if err != nil {
		return nil, err
	}
	f := &field{Federation: fed, spokes: map[string]*federation.Process{}, witness: filepath.Join(dir, "witness"), show: show}
	if err := os.Mkdir(f.witness, 0o700); err != nil {
		return nil, err
	}
	if f.hub, err = f.startHub(ctx); err != nil {
		return f, err
	}
	if f.client, err = fed.Client(); err != nil {
		return f, err
	}
	for _, name := range spokes {
		if err := f.Join(ctx, name, "cloud="+name); err != nil {
			return f, err
		}
		if err := f.startSpoke(name); err != nil {
			return f, err
		}
	}
	if err := f.live(ctx, spokes...); err != nil {
		return f, err
	}
	return f, f.apply(ctx)
}

func (f *field) startHub(ctx context.Context) (*federation.Process, error) {
	return f.StartHub(ctx, "--lease", "5s")
}

func (f *field) startSpoke(name string) (err error) {
	f.spokes[name], err = f.StartSpoke(name, "--flavor", "small=24")
	return err
}

// apply defines the agent: this program.
func (f *field) apply(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for name, doc := range map[string]map[string]any{
		"environment": {"apiVersion": "nave.dev/v1", "kind": "Environment", "metadata": map[string]any{"name": "local"},
			"spec": map[string]any{"flavor": "small", "env": []any{map[string]any{"name": agentEnv, "value": f.witness}}}},
		"agent": {"apiVersion": "nave.dev/v1", "kind": "Agent", "metadata": map[string]any{"name": agentName},
			"spec": map[string]any{"environment": "local", "harness": map[string]any{"protocol": "command", "command": []string{self}},
				"idle_timeout": "3s", "turn_limit": "30s", "stop_after": "20s", "max_deliveries": 5}},
	} {
		b, err := json.Marshal(doc)
		if err != nil {
			return err
		}
		if err := os.WriteFile(f.Path(name+".json"), b, 0o600); err != nil {
			return err
		}
	}
	_, err = f.Nave(ctx, "apply", "-f", f.Path("environment.json"), "-f", f.Path("agent.json"))
	return err
}

// live waits until clusters are live.
func (f *field) live(ctx context.Context, names ...string) error {
	for _, name := range names {
		err := f.Await(ctx, "cluster "+name+" live", func() (bool, error) {
			c, err := f.client.Clusters.Get(ctx, &navev1.GetRequest{Name: name})
			return c.GetStatus().GetHealth() == string(api.HealthLive), err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// sessions lists all sessions.
func (f *field) sessions(ctx context.Context) ([]*navev1.Session, error) {
	var all []*navev1.Session
	for token := ""; ; {
		page, err := f.client.Sessions.List(ctx, &navev1.ListSessionsRequest{PageToken: token, PageSize: 500})
		if err != nil {
			return nil, err
		}
		all = append(all, page.GetSessions()...)
		if token = page.GetNextPageToken(); token == "" {
			return all, nil
		}
	}
}

// settle waits until nothing is pending and everything sleeps; then it reads logs and witnesses.
func (f *field) settle(ctx context.Context, accepted []history.Accepted) (history.Input, error) {
	in := history.Input{Accepted: accepted, Logs: map[api.SessionID][]api.Event{}}
	var last string
	err := f.Await(ctx, "everything settled and asleep", func() (bool, error) {
		all, err := f.sessions(ctx)
		if err != nil {
			return false, err
		}
		var awake []string
		for _, s := range all {
			if s.GetPending() > 0 || s.GetPhase() != string(api.PhaseDormant) {
				awake = append(awake, fmt.Sprintf("%s %s %s pending %d (consumed %d) in %q: %s", s.GetId(), s.GetKey(), s.GetPhase(), s.GetPending(), s.GetConsumed(), s.GetCluster(), s.GetReason()))
			}
		}
		last = strings.Join(awake, "\n  ")
		return len(awake) == 0, nil
	})
	if err != nil {
		fmt.Fprintf(f.show, "not settled:\n  %s\n", last)
		in.Running = append(in.Running, "sessions that do not settle: "+last)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute) // the logs are read in any case
	defer cancel()
	all, err := f.sessions(ctx)
	if err != nil {
		return in, err
	}
	for _, s := range all {
		id := api.SessionID(s.GetId())
		if in.Logs[id], err = f.log(ctx, id); err != nil {
			return in, err
		}
	}
	in.Witness, err = f.witnesses()
	return in, err
}

// log reads a session's whole log.
func (f *field) log(ctx context.Context, id api.SessionID) ([]api.Event, error) {
	stream, err := f.client.Sessions.Events(ctx, &navev1.EventsRequest{SessionId: string(id)})
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	events := []api.Event{}
	for stream.Receive() {
		ev := stream.Msg()
		src, err := api.ParseSource(ev.GetSource())
		if err != nil {
			return nil, err
		}
		events = append(events, api.Event{Session: api.SessionID(ev.GetSessionId()), Number: ev.GetNumber(), Source: src, SourceNumber: ev.GetSourceNumber(),
			Type: api.EventType(ev.GetType()), Signals: ev.GetSignals(), Outcome: api.Outcome(ev.GetOutcome()), Attributes: ev.GetAttributes()})
	}
	return events, stream.Err()
}

// witnesses reads what the agents wrote down, session by session.
func (f *field) witnesses() ([]history.Witness, error) {
	files, err := filepath.Glob(filepath.Join(f.witness, "*.witness"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var out []history.Witness
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		sc := bufio.NewScanner(file)
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			var w history.Witness
			if err := json.Unmarshal(sc.Bytes(), &w); err != nil {
				return nil, errors.Join(fmt.Errorf("%s: %w", name, err), file.Close())
			}
			out = append(out, w)
		}
		if err := errors.Join(sc.Err(), file.Close()); err != nil {
			return nil, err
		}
	}
	return out, nil
}
