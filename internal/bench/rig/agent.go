package rig

import (
	"context"
	"encoding/json"
	"os"
	"time"

	"github.com/nave-dev/nave/api/navev1"
)

// Agent is the name of the agent that Apply defines.
const Agent = "measured"

// Apply defines the agent: a program that gets the signals of a turn on its standard input. Its sessions stay for an hour.
func (r *Rig) Apply(ctx context.Context, command ...string) error {
	return r.Define(ctx, time.Hour, command...)
}

// Define is [Rig.Apply] with the time after which sessions without work sleep.
func (r *Rig) Define(ctx context.Context, idle time.Duration, command ...string) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	args := []string{"apply"}
	for _, d := range []struct {
		kind, name string
		spec       map[string]any
	}{
		{"Environment", "local", map[string]any{"flavor": Flavor}},
		{"Agent", Agent, map[string]any{"environment": "local", "idle_timeout": idle.String(), "harness": map[string]any{"protocol": "command", "command": command}}},
	} {
		text, err := json.Marshal(map[string]any{"apiVersion": "nave.dev/v1", "kind": d.kind, "metadata": map[string]any{"name": d.name}, "spec": d.spec})
		if err != nil {
			return err
		}
		if err := os.WriteFile(r.Path(d.kind+".json"), text, 0o600); err != nil {
			return err
		}
		args = append(args, "-f", r.Path(d.kind+".json"))
	}
	_, err := r.Quiet(ctx, args...)
	return err
}

// Signal sends a signal to a session of the agent, and returns the session's id.
func (r *Rig) Signal(ctx context.Context, key, payload string) (session string, err error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	res, err := r.Client.Sessions.Signal(ctx, &navev1.SignalRequest{Agent: Agent, Key: key, Payload: []byte(payload)})
	return res.GetSessionId(), err
}
