package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

// signalFlags are the flags of the signal command.
type signalFlags struct {
	message, file, key string
	lines              string
	wait, dryRun       bool
	messageSet         bool
}

func (a *app) signalCommand() *cobra.Command {
	var f signalFlags
	cmd := &cobra.Command{
		Use: "signal AGENT KEY -m TEXT | -f FILE|-, or signal --file FILE|-", Short: "Send a signal to a session, or a file of signals",
		Long: `Signal sends a message to the session of an agent for a key; the session is made when there is none. It prints
the session and the sequence of the signal in it.

With --wait it stays until the turn that consumed the signal has ended, prints the agent's messages as they come,
and fails when the turn did not end well. On a terminal they appear while they are written.

Every signal has an idempotency key; without --idempotency-key a random one is made, which makes the repetitions
of this command's own call safe. To repeat the command itself safely, give the key.

With --file it sends many signals, in calls of up to 100. Each line is a JSON object with "agent", "key", the message
as "text" or, in base64, as "payload", and "idempotency_key", which may be left out. Signals to one session are accepted
in the order of the lines. A line that is refused is told with its number and does not hold up the others; in the end
the exit code is 1. A file whose lines have idempotency keys can be sent again safely: what was accepted is not sent
twice. No key is made from what a line says; one without a key is another signal each time.`,
		Example: `  nave signal auditor core -m "look at the last release" --wait
  nave signal auditor core -f report.txt --idempotency-key report-7
  nave signal --file signals.jsonl
  echo '{"agent": "auditor", "key": "core", "text": "look", "idempotency_key": "look-7"}' | nave signal --file -`,
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("file") && len(args) > 0 {
			return errors.New("--file takes agent and key from the lines of the file: leave AGENT and KEY out, or give one message by -f")
		} else if cmd.Flags().Changed("file") {
			return nil
		}
		return cobra.ExactArgs(2)(cmd, args)
	}
	cmd.RunE = a.do(func(ctx context.Context, args []string) error {
		f.messageSet = cmd.Flags().Changed("message")
		if cmd.Flags().Changed("file") {
			if f.messageSet || f.file != "" || f.key != "" || f.wait {
				return usage("--file has everything in its lines: leave -m, -f, --idempotency-key and --wait out")
			}
			return a.signalLines(ctx, f.lines, f.dryRun)
		}
		req, err := a.signalRequest(args[0], args[1], f)
		if err != nil {
			return err
		}
		return a.with(func(c *client.Client) error { return a.signal(ctx, c, req, f.wait) })
	}, formatText, formatJSON)
	fs := cmd.Flags()
	fs.StringVarP(&f.message, "message", "m", "", "the message")
	fs.StringVarP(&f.file, "filename", "f", "", "file that holds the message, or - for standard input")
	fs.StringVar(&f.lines, "file", "", "file of signals, one JSON object a line, or - for standard input")
	fs.StringVar(&f.key, "idempotency-key", "", "the same key with the same message is one signal (default: random)")
	fs.BoolVar(&f.wait, "wait", false, "wait for the end of the turn and print what the agent says")
	fs.BoolVar(&f.dryRun, "dry-run", false, "let the hub check it and accept nothing")
	return cmd
}

// signalRequest checks everything that needs no hub.
func (a *app) signalRequest(agent, key string, f signalFlags) (*navev1.SignalRequest, error) {
	if err := api.ValidateName("AGENT", agent); err != nil {
		return nil, &usageError{err}
	}
	if err := api.ValidateSessionKey("KEY", key); err != nil {
		return nil, &usageError{err}
	}
	if len(f.key) > api.MaxIdempotencyKey {
		return nil, usage("--idempotency-key: %d bytes: at most %d are allowed", len(f.key), api.MaxIdempotencyKey)
	}
	if f.wait && f.dryRun {
		return nil, usage("with --dry-run there is nothing to --wait for: leave one of them out")
	}
	if f.messageSet == (f.file != "") {
		return nil, usage("give the message by -m or by -f, one of them")
	}
	payload := []byte(f.message)
	if f.file != "" {
		var err error
		if payload, err = a.payload(f.file); err != nil {
			return nil, err
		}
	}
	if len(payload) > api.MaxPayload {
		return nil, api.Errorf(api.CodeLimit, "the message is larger than %d bytes: put what is large where the agent can fetch it", api.MaxPayload)
	}
	if f.key == "" {
		f.key = client.NewKey()
	}
	return &navev1.SignalRequest{Agent: agent, Key: key, Payload: payload, IdempotencyKey: f.key, DryRun: f.dryRun}, nil
}

// payload reads one byte more than is allowed, so that what is too large is noticed and not cut.
func (a *app) payload(path string) ([]byte, error) {
	in := a.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("read message: %w", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, api.MaxPayload+1))
	if err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	return text, nil
}

func (a *app) signal(ctx context.Context, c *client.Client, req *navev1.SignalRequest, wait bool) error {
	res, err := c.Sessions.Signal(ctx, req)
	if err != nil {
		return err
	}
	said := fmt.Sprintf("session %s sequence %d", res.GetSessionId(), res.GetSequence())
	if res.GetDuplicate() {
		said += " (duplicate)"
	}
	switch {
	case req.GetDryRun() && a.output != formatJSON:
		said = "the signal would be accepted (dry run)"
		fallthrough
	case !wait && a.output != formatJSON:
		_, err = fmt.Fprintln(a.out, clean(said, false))
		return err
	case a.output == formatJSON:
		err = a.printLine(res)
	default:
		a.note("%s", said)
	}
	if err != nil || !wait {
		return err
	}
	ctx, cancel := a.whole(ctx)
	defer cancel()
	w := &waiter{app: a, live: newLive(a, nil), sequence: res.GetSequence()}
	from := &navev1.EventsRequest{SessionId: res.GetSessionId(), From: res.GetAfterEvent() + 1, Follow: true, Deltas: a.terminal && a.output == formatText}
	err = c.Follow(ctx, from, w.take)
	w.live.close()
	if err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return timedOut("the turn did not end within %v; the signal is accepted: follow it with nave events %s --follow", a.timeout, res.GetSessionId())
		}
		return err
	}
	return w.verdict()
}
