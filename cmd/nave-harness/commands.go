package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/local"
)

// parse reads flags and returns the other arguments.
func parse(fs *pflag.FlagSet, args []string) ([]string, error) {
	fs.SetOutput(io.Discard)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return nil, err
		}
		return nil, usageError{err}
	}
	if f := fs.Lookup("output"); f != nil && f.Value.String() != "text" && f.Value.String() != "json" {
		return nil, usage("--output: %q: want text or json", f.Value)
	}
	return fs.Args(), nil
}

func newFlags(name string) *pflag.FlagSet { return pflag.NewFlagSet(name, pflag.ContinueOnError) }

// withOutput adds the flag that says how the answer is printed.
func withOutput(fs *pflag.FlagSet) *string { return fs.StringP("output", "o", "text", "text or json") }

func (p *program) signal(ctx context.Context, args []string) error {
	fs := newFlags("signal")
	output := withOutput(fs)
	key := fs.String("key", "", "key of the session")
	message := fs.StringP("message", "m", "", "the message")
	file := fs.StringP("filename", "f", "", "file that holds the message, or - for standard input")
	idempotency := fs.String("idempotency-key", "", "the same key with the same message is one signal; by default one is made, so that a turn that is run again doubles nothing")
	args, err := parse(fs, args)
	if err != nil {
		return err
	}
	if len(args) == 2 && args[1] == "-" && *file == "" {
		args, *file = args[:1], "-"
	}
	switch {
	case len(args) != 1:
		return usage("signal: want the name of one agent")
	case *key == "":
		return usage("signal: --key is missing: the key of the session")
	case fs.Changed("message") == (*file != ""):
		return usage("signal: give the message by -m, by -f or on standard input (-), one of them")
	}
	payload := []byte(*message)
	if *file != "" {
		if payload, err = p.payload(*file); err != nil {
			return err
		}
	}
	if len(payload) > local.MaxPayload {
		return api.Errorf(api.CodeLimit, "the message is larger than %d bytes: put what is large where the agent can fetch it", local.MaxPayload)
	}
	c, err := p.api()
	if err != nil {
		return err
	}
	got, err := c.Signal(ctx, local.SignalRequest{Agent: args[0], Key: *key, Payload: payload, IdempotencyKey: *idempotency})
	if err != nil {
		return err
	}
	text := fmt.Sprintf("session %s sequence %d", got.SessionID, got.Sequence)
	if got.Duplicate {
		text += " (duplicate)"
	}
	return p.print(*output, got, text)
}

// payload reads one byte more than is allowed, so that what is too large is noticed and not cut.
func (p *program) payload(path string) ([]byte, error) {
	in := p.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	return io.ReadAll(io.LimitReader(in, local.MaxPayload+1))
}

func (p *program) emit(ctx context.Context, args []string) error {
	fs := newFlags("emit")
	pairs := fs.StringArray("attribute", nil, "NAME=VALUE")
	args, err := parse(fs, args)
	if err != nil {
		return err
	}
	if len(args) != 1 {
		return usage("emit: want one text")
	}
	attributes := map[string]string{}
	for _, pair := range *pairs {
		name, value, ok := strings.Cut(pair, "=")
		if _, twice := attributes[name]; !ok || twice {
			return usage("emit: --attribute %q: want NAME=VALUE, each name once", pair)
		}
		attributes[name] = value
	}
	c, err := p.api()
	if err != nil {
		return err
	}
	return c.Emit(ctx, args[0], attributes)
}

func (p *program) state(ctx context.Context, args []string) error {
	fs := newFlags("state")
	output := withOutput(fs)
	args, err := parse(fs, args)
	if err != nil {
		return err
	}
	if len(args) != 0 {
		return usage("state: want no argument")
	}
	c, err := p.api()
	if err != nil {
		return err
	}
	st, err := c.State(ctx)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("agent         %s\nkey           %s\nsession       %s\norganization  %s\ncluster       %s\nworkload      %s\nattempt       %d\nsignals       %s\nstate lost    %v",
		st.Agent, st.Key, st.Session, st.Organization, st.Cluster, st.Workload, st.Attempt, strings.Trim(fmt.Sprint(st.Signals), "[]"), st.StateLost)
	return p.print(*output, st, text)
}

// print writes an answer as text or as one line of JSON.
func (p *program) print(output string, answer any, text string) error {
	if output == "json" {
		return json.NewEncoder(p.out).Encode(answer)
	}
	_, err := fmt.Fprintln(p.out, text)
	return err
}
