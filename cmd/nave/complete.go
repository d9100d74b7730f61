package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

// completeWithin bounds what a person waits for after a Tab.
const completeWithin = 2 * time.Second

// maxCandidates is how many a shell is offered.
const maxCandidates = 500

// word is one of the words that a shell is offered, with what it is.
type word struct{ word, what string }

// source finds the words that may stand somewhere. It gets what stands before on the command line.
type source func(ctx context.Context, c *client.Client, args []string) ([]word, error)

// complete gives every command its completions: for each position of its arguments, and for its flags, by name.
func (a *app) complete(root *cobra.Command) {
	positions := map[string][]source{
		"get": {a.kindWordsOf, a.nounsOf}, "delete": {a.kindWordsOf, a.nounsOf}, "diff": {a.kindWordsOf, a.nounsOf},
		"history": {a.kindWordsOf, a.nounsOf}, "rollback": {a.kindWordsOf, a.nounsOf}, "export": {a.kindWordsOf, a.nounsOf},
		"signal": {a.agentNames}, "events": {a.sessionIDs}, "explain": {a.sessionIDs}, "cancel": {a.sessionIDs},
		"pause": {a.sessionIDs}, "resume": {a.sessionIDs}, "terminate": {a.sessionIDs}, "sessions get": {a.sessionIDs},
		"wait": {a.waitWords, a.clusterNames}, "approve": {a.approvalIDs}, "deny": {a.approvalIDs}, "approvals show": {a.approvalIDs},
		"replay": {a.deadIDs}, "signals show": {a.deadIDs},
		"clusters get": {a.clusterNames}, "clusters cordon": {a.clusterNames}, "clusters uncordon": {a.clusterNames},
		"clusters rejoin": {a.clusterNames}, "clusters delete": {a.clusterNames},
		"context use": {a.contextNames}, "context show": {a.contextNames}, "context delete": {a.contextNames},
		"context set": {a.contextNames}, "context rename": {a.contextNames},
	}
	flags := map[string]source{
		"agent": a.agentNames, "session": a.sessionIDs, "cluster": a.clusterNames, "why-not": a.clusterNames, "context": a.contextNames,
		"phase": fixed(phaseWords("")...), "for": fixed(slices.Concat(sessionConditions, clusterConditions, phaseWords("phase="))...),
		"output": fixed(formatTable, formatText, formatJSON, formatYAML, formatName),
	}
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		for name, s := range flags {
			if f := cmd.LocalFlags().Lookup(name); f != nil {
				_ = cmd.RegisterFlagCompletionFunc(name, a.completer([]source{s}, true)) // fails only when done twice
			}
		}
		path := strings.TrimPrefix(cmd.CommandPath(), root.Name()+" ")
		if s, ok := positions[path]; ok {
			cmd.ValidArgsFunction = a.completer(s, false)
		} else if !cmd.HasSubCommands() {
			cmd.ValidArgsFunction = cobra.NoFileCompletions
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(root)
}

// completer asks the source of a position. Whatever goes wrong, the shell gets no words and no error.
func (a *app) completer(positions []source, flag bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		at := len(args)
		if flag {
			at = 0
		}
		if at >= len(positions) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
		defer cancel()
		a.attempts = 1 // a person waits
		var c *client.Client
		if hub, err := a.connect(); err == nil {
			c = hub
			defer c.Close()
		}
		words, err := positions[at](ctx, c, args)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []string
		for _, w := range words {
			if len(out) == maxCandidates {
				break
			}
			if strings.HasPrefix(w.word, prefix) && harmless(w.word) {
				out = append(out, cobra.CompletionWithDesc(w.word, clean(w.what, false)))
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// harmless tells whether a shell takes a word as it is: what comes from a hub is not to be run or expanded.
func harmless(word string) bool {
	return word != "" && !strings.ContainsFunc(word, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.=/", r))
	})
}

func fixed(words ...string) source {
	return func(context.Context, *client.Client, []string) (out []word, _ error) {
		for _, w := range words {
			out = append(out, word{word: w})
		}
		return out, nil
	}
}

func phaseWords(prefix string) (out []string) {
	for _, p := range api.Phases() {
		out = append(out, prefix+string(p))
	}
	return out
}

// errNoHub ends a completion that needs a hub.
var errNoHub = api.Errorf(api.CodeUnavailable, "no hub is configured")

func (a *app) kindWordsOf(ctx context.Context, c *client.Client, args []string) ([]word, error) {
	return fixed(kindWords()...)(ctx, c, args)
}

// nounsOf completes the names of the kind that stands before.
func (a *app) nounsOf(ctx context.Context, c *client.Client, args []string) (out []word, _ error) {
	k, err := kindNamed(args[0])
	if err != nil || c == nil {
		return nil, errNoHub
	}
	ns, _, err := k.list(ctx, c, &navev1.ListRequest{PageSize: maxCandidates})
	for _, n := range ns {
		out = append(out, word{n.GetMeta().GetName(), fmt.Sprintf("revision %d", n.GetMeta().GetRevision())})
	}
	return out, err
}

func (a *app) agentNames(ctx context.Context, c *client.Client, _ []string) ([]word, error) {
	return a.nounsOf(ctx, c, []string{agentKind.singular()})
}

func (a *app) sessionIDs(ctx context.Context, c *client.Client, _ []string) (out []word, _ error) {
	if c == nil {
		return nil, errNoHub
	}
	res, err := c.Sessions.List(ctx, &navev1.ListSessionsRequest{PageSize: maxCandidates})
	for _, s := range res.GetSessions() {
		out = append(out, word{s.GetId(), fmt.Sprintf("%s/%s %s", s.GetAgent(), s.GetKey(), s.GetPhase())})
	}
	return out, err
}

// waitWords are the sessions, and the word that makes it a cluster.
func (a *app) waitWords(ctx context.Context, c *client.Client, args []string) ([]word, error) {
	out, err := a.sessionIDs(ctx, c, args)
	return append(out, word{"cluster", "wait for a cluster"}), err
}

func (a *app) clusterNames(ctx context.Context, c *client.Client, _ []string) (out []word, _ error) {
	if c == nil {
		return nil, errNoHub
	}
	res, err := c.Clusters.List(ctx, &navev1.ListRequest{PageSize: maxCandidates})
	for _, cl := range res.GetClusters() {
		out = append(out, word{cl.GetMeta().GetName(), cl.GetStatus().GetHealth()})
	}
	return out, err
}

func (a *app) approvalIDs(ctx context.Context, c *client.Client, _ []string) (out []word, _ error) {
	if c == nil {
		return nil, errNoHub
	}
	res, err := c.Approvals.List(ctx, &navev1.ListApprovalsRequest{PageSize: maxCandidates})
	for _, p := range res.GetApprovals() {
		out = append(out, word{short(p.GetId()), fmt.Sprintf("%s/%s %s", p.GetAgent(), p.GetKey(), p.GetTitle())})
	}
	return out, err
}

func (a *app) deadIDs(ctx context.Context, c *client.Client, _ []string) (out []word, _ error) {
	if c == nil {
		return nil, errNoHub
	}
	res, err := c.Sessions.ListDeadLetters(ctx, &navev1.ListDeadLettersRequest{PageSize: maxCandidates})
	for _, d := range res.GetDeadLetters() {
		out = append(out, word{d.GetSignalId(), fmt.Sprintf("%s/%s %s", d.GetAgent(), d.GetKey(), d.GetReason())})
	}
	return out, err
}

func (a *app) contextNames(context.Context, *client.Client, []string) (out []word, _ error) {
	cs, _, err := a.contexts()
	if err != nil {
		return nil, err
	}
	for _, c := range cs.Contexts {
		out = append(out, word{c.Name, c.Address})
	}
	return out, nil
}
