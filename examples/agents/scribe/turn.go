package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	acp "github.com/coder/acp-go-sdk"
)

// commands are what the scribe can do; see README.md. A line of the prompt that begins with one is done.
var commands = map[string]func(t *turn, ctx context.Context, rest string) error{
	"remember": (*turn).remember,
	"recall":   (*turn).recall,
	"count":    (*turn).count,
	"slow":     (*turn).slow,
	"crash":    (*turn).crash,
	"signal":   (*turn).signal,
}

const help = "I can: remember TEXT, recall, count N, slow N, signal AGENT KEY TEXT, crash."

// turn is one prompt.
type turn struct {
	client   *acp.AgentSideConnection
	session  acp.SessionId
	c        *conversation
	calls    int // tool calls of this turn
	asked    string
	answered strings.Builder
}

// work does what the prompt asks for, one line after the other.
func (t *turn) work(ctx context.Context, prompt []acp.ContentBlock) error {
	var todo []string
	for _, b := range prompt {
		if b.Text == nil {
			continue
		}
		t.asked += b.Text.Text + "\n"
		for line := range strings.Lines(b.Text.Text) {
			word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			if commands[word] != nil {
				todo = append(todo, strings.TrimSpace(line))
			}
		}
	}
	if len(todo) == 0 && t.c.Pending != "" { // somebody may have answered meanwhile
		todo = append(todo, "remember "+t.c.Pending)
	}
	if err := t.update(ctx, acp.UpdateAgentThoughtText(fmt.Sprintf("I found %d things to do.", len(todo)))); err != nil {
		return err
	}
	if len(todo) == 0 {
		if err := t.say(ctx, help+"\n"); err != nil {
			return err
		}
	}
	for i, line := range todo {
		if err := t.plan(ctx, todo, i); err != nil {
			return err
		}
		word, rest, _ := strings.Cut(line, " ")
		if err := commands[word](t, ctx, strings.TrimSpace(rest)); err != nil {
			return err
		}
	}
	if err := t.plan(ctx, todo, len(todo)); err != nil {
		return err
	}
	t.c.History = append(t.c.History, exchange{t.asked, t.answered.String()})
	return t.update(ctx, acp.SessionUpdate{UsageUpdate: &acp.SessionUsageUpdate{Used: t.tokens(), Size: 100_000}})
}

// remember writes a line into the memory file, if it is allowed to.
func (t *turn) remember(ctx context.Context, text string) error {
	memory, err := t.c.memory()
	if err != nil {
		return err
	}
	line := "- " + text + "\n"
	switch {
	case text == "":
		return t.say(ctx, "Remember what?\n")
	case strings.Contains("\n"+memory, "\n"+line): // a signal can come twice
		t.c.Pending = ""
		return t.say(ctx, "I know that already.\n")
	}
	t.c.Pending = text
	if err := t.c.save(); err != nil { // the turn may be ended while it waits for an answer
		return err
	}
	call := t.call()
	title, kind, file := "write memory.md", acp.ToolKindEdit, t.c.memoryFile()
	input := map[string]any{"path": "memory.md", "text": text}
	if err := t.update(ctx, acp.StartToolCall(call, title, acp.WithStartKind(kind), acp.WithStartStatus(acp.ToolCallStatusPending),
		acp.WithStartRawInput(input), acp.WithStartContent([]acp.ToolCallContent{acp.ToolDiffContent(file, memory+line, memory)}))); err != nil {
		return err
	}
	r, err := t.client.RequestPermission(ctx, acp.RequestPermissionRequest{
		SessionId: t.session,
		ToolCall:  acp.ToolCallUpdate{ToolCallId: call, Title: &title, Kind: &kind, RawInput: input},
		Options: []acp.PermissionOption{
			{OptionId: "allow", Name: "Write it", Kind: acp.PermissionOptionKindAllowOnce},
			{OptionId: "reject", Name: "Do not write it", Kind: acp.PermissionOptionKindRejectOnce},
		},
	})
	if err != nil {
		return err
	}
	if r.Outcome.Selected == nil { // the turn is cancelled, or will be
		return context.Canceled
	}
	t.c.Pending = ""
	if r.Outcome.Selected.OptionId != "allow" {
		return t.done(ctx, call, acp.ToolCallStatusFailed, "denied", "I may not write memory.md, so I wrote nothing.\n")
	}
	if err := os.WriteFile(file, []byte(memory+line), 0o600); err != nil {
		return err
	}
	return t.done(ctx, call, acp.ToolCallStatusCompleted, "written", "I remember: "+text+"\n")
}

// recall says what the memory file holds.
func (t *turn) recall(ctx context.Context, _ string) error {
	memory, err := t.c.memory()
	if err != nil {
		return err
	}
	if memory == "" {
		return t.say(ctx, "I remember nothing.\n")
	}
	return t.say(ctx, memory)
}

// count says N numbers, with a tool call after each.
func (t *turn) count(ctx context.Context, rest string) error {
	n, err := strconv.Atoi(rest)
	if err != nil || n < 1 || n > 10_000 {
		return t.say(ctx, "Count how far? Give a number from 1 to 10000.\n")
	}
	for i := 1; i <= n && ctx.Err() == nil; i++ {
		if err := t.say(ctx, fmt.Sprintf("number %d\n", i)); err != nil {
			return err
		}
		call := t.call()
		if err := t.update(ctx, acp.StartToolCall(call, "add one", acp.WithStartKind(acp.ToolKindOther), acp.WithStartRawInput(map[string]any{"to": i}))); err != nil {
			return err
		}
		if err := t.done(ctx, call, acp.ToolCallStatusCompleted, strconv.Itoa(i+1), ""); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// slow takes N steps of a tenth of a second.
func (t *turn) slow(ctx context.Context, rest string) error {
	n, err := strconv.Atoi(rest)
	if err != nil || n < 1 || n > 100_000 {
		return t.say(ctx, "How many steps? Give a number from 1 to 100000.\n")
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := 1; i <= n; i++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if err := t.say(ctx, fmt.Sprintf("step %d of %d\n", i, n)); err != nil {
			return err
		}
	}
	return nil
}

// crash ends the process as a defect would.
func (t *turn) crash(context.Context, string) error {
	fmt.Fprintln(os.Stderr, "scribe: told to crash")
	os.Exit(3)
	return nil
}

// signal sends a signal to another session.
func (t *turn) signal(ctx context.Context, rest string) error {
	f := strings.SplitN(rest, " ", 3)
	if len(f) < 3 {
		return t.say(ctx, "Signal whom? Give an agent, a key and a text.\n")
	}
	call := t.call()
	if err := t.update(ctx, acp.StartToolCall(call, "signal "+f[0]+" "+f[1], acp.WithStartKind(acp.ToolKindExecute),
		acp.WithStartRawInput(map[string]any{"agent": f[0], "key": f[1], "text": f[2]}))); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "nave-harness", "signal", f[0], "--key", f[1], "-m", f[2]).CombinedOutput()
	said := strings.TrimSpace(string(out))
	if err != nil {
		return t.done(ctx, call, acp.ToolCallStatusFailed, said, fmt.Sprintf("The signal was not sent (%v): %s\n", err, said))
	}
	return t.done(ctx, call, acp.ToolCallStatusCompleted, said, "Sent: "+said+"\n")
}

// say streams a text in chunks of some words.
func (t *turn) say(ctx context.Context, text string) error {
	t.answered.WriteString(text)
	words := strings.SplitAfter(text, " ")
	for len(words) > 0 {
		n := min(3, len(words))
		if err := t.update(ctx, acp.UpdateAgentMessageText(strings.Join(words[:n], ""))); err != nil {
			return err
		}
		words = words[n:]
	}
	return nil
}

// call makes the id of the next tool call.
func (t *turn) call() acp.ToolCallId {
	t.calls++
	return acp.ToolCallId(fmt.Sprintf("%d.%d", len(t.c.History)+1, t.calls))
}

// done ends a tool call, and says something about it.
func (t *turn) done(ctx context.Context, call acp.ToolCallId, status acp.ToolCallStatus, output, say string) error {
	err := t.update(ctx, acp.UpdateToolCall(call, acp.WithUpdateStatus(status),
		acp.WithUpdateContent([]acp.ToolCallContent{acp.ToolContent(acp.TextBlock(output))})))
	if err != nil || say == "" {
		return err
	}
	return t.say(ctx, say)
}

// plan tells what is done, what is being done, and what is to be done.
func (t *turn) plan(ctx context.Context, todo []string, at int) error {
	if len(todo) == 0 {
		return nil
	}
	entries := make([]acp.PlanEntry, len(todo))
	for i, line := range todo {
		status := acp.PlanEntryStatusPending
		if i < at {
			status = acp.PlanEntryStatusCompleted
		} else if i == at {
			status = acp.PlanEntryStatusInProgress
		}
		entries[i] = acp.PlanEntry{Content: line, Priority: acp.PlanEntryPriorityMedium, Status: status}
	}
	return t.update(ctx, acp.UpdatePlan(entries...))
}

func (t *turn) update(ctx context.Context, u acp.SessionUpdate) error {
	return t.client.SessionUpdate(ctx, acp.SessionNotification{SessionId: t.session, Update: u})
}

// tokens is about how much the conversation would cost a model.
func (t *turn) tokens() int {
	n := 0
	for _, e := range t.c.History {
		n += len(e.Asked) + len(e.Answered)
	}
	return n / 4
}

func (t *turn) usage() *acp.Usage {
	in, out := len(t.asked)/4, t.answered.Len()/4
	return &acp.Usage{InputTokens: in, OutputTokens: out, TotalTokens: in + out}
}
