package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
)

// fact that the scribe is told once, and is asked for later.
const remembered = "the release is on Friday at nine"

// permits is what was seen of the permission.
type permits struct {
	asked  string // id of the approval
	answer string // what the scribe said later
}

// permission lets the scribe ask for one, answers it, waits until the session sleeps, and asks for what it remembers.
func (d *demonstration) permission(ctx context.Context) (*sent, error) {
	title("An agent of the Agent Client Protocol asks for a permission, and a person answers")
	s := &sent{agent: "scribe", key: "notes", cloud: "azure", signals: 2}
	g := run.NewGroup(ctx)
	defer g.Stop()
	var first string
	g.Go("remember", func(ctx context.Context) (err error) {
		first, err = d.Quiet(ctx, "signal", s.agent, s.key, "-m", "remember "+remembered, "--wait")
		return err
	})
	fmt.Printf("$ nave signal %s %s -m 'remember %s' --wait &\n", s.agent, s.key, remembered)
	err := d.Await(g.Context(), "a request for permission", func() (bool, error) {
		out, err := d.Quiet(ctx, "approvals", "-o", "json")
		if err != nil {
			return false, err
		}
		var list struct {
			Approvals []struct {
				ID      string `json:"id"`
				Session string `json:"session_id"`
			} `json:"approvals"`
		}
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			return false, err
		}
		for _, a := range list.Approvals {
			d.permits.asked, s.session = a.ID, a.Session
		}
		return d.permits.asked != "", nil
	})
	if err != nil {
		return nil, errors.Join(err, g.Wait())
	}
	if _, err := d.Nave(ctx, "approvals"); err != nil {
		return nil, err
	}
	if _, err := d.Nave(ctx, "approve", d.permits.asked, "--reason", "it is true"); err != nil {
		return nil, err
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	fmt.Println(indented(first))
	err = d.Await(ctx, "the scribe asleep", func() (bool, error) {
		out, err := d.Quiet(ctx, "sessions", "--agent", s.agent)
		return strings.Contains(out, string(api.PhaseDormant)), err
	})
	if err != nil {
		return nil, err
	}
	tell("the scribe's session sleeps: no process of it is left")
	if d.permits.answer, err = d.Nave(ctx, "signal", s.agent, s.key, "-m", "recall", "--wait"); err != nil {
		return nil, err
	}
	return s, nil
}

func indented(s string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n  ")
}

// judgePermission says whether the permission was asked, answered and used once, and whether the memory outlived the workload.
func judgePermission(p permits, s seen) []fact {
	count := map[api.EventType]int{}
	var deciders []string
	var turns []string // sources of the turns that are done, in order
	said := map[string][]string{}
	var told string
	for _, ev := range s.events {
		typ := api.EventType(ev.GetType())
		if id := ev.GetAttributes()[api.AttrApproval]; id != "" && id != p.asked {
			continue
		}
		count[typ]++
		switch {
		case typ == api.EventAnswered:
			deciders = append(deciders, ev.GetAttributes()[api.AttrBy])
		case typ == api.EventMessage:
			said[ev.GetSource()] = append(said[ev.GetSource()], ev.GetText())
		case typ == api.EventTurnDone && ev.GetOutcome() == string(api.OutcomeDone):
			turns = append(turns, ev.GetSource())
		}
	}
	woken := len(turns) == 2 && turns[0] != turns[1]
	if woken {
		told = strings.Join(said[turns[1]], "")
	}
	once := count[api.EventAsked] == 1 && count[api.EventAnswered] == 1 && count[api.EventTaken] == 1
	return []fact{
		{"scribe: the permission was asked, answered and used once", fmt.Sprintf("%d, %d and %d times, answered by %s", count[api.EventAsked], count[api.EventAnswered], count[api.EventTaken],
			strings.Join(deciders, ", ")), once},
		{"scribe: a workload of another epoch remembers", fmt.Sprintf("turns of %s: %q", strings.Join(turns, " and "), trimmed(told)), woken && strings.Contains(told, remembered)},
	}
}

// judgeDeaths says whether the turn survived its machine, and the signals the hub.
func judgeDeaths(waiting int, all []seen) []fact {
	var facts []fact
	for _, s := range all {
		if s.sent.attempts < 2 {
			continue
		}
		facts = append(facts, judgeAttempts(s))
	}
	return append(facts, fact{"signals waited when the hub was killed", fmt.Sprintf("%d of %d", waiting, queued), waiting >= 2})
}

// judgeAttempts looks at a turn that was begun twice: the first time it was cut off, the second time it is whole.
func judgeAttempts(s seen) fact {
	begun, said := map[string]int{}, map[string]int{}
	var order []string
	done := ""
	for _, ev := range s.events {
		switch api.EventType(ev.GetType()) {
		case api.EventTurn:
			begun[ev.GetSource()]++
			order = append(order, ev.GetSource())
		case api.EventMessage:
			said[ev.GetSource()]++
		case api.EventTurnDone:
			if ev.GetOutcome() == string(api.OutcomeDone) {
				done = ev.GetSource()
			}
		}
	}
	f := fact{name: s.sent.name() + ": attempt 2 does the turn that attempt 1 could not end", detail: "turns of " + strings.Join(order, " and ")}
	if len(order) == 2 {
		first, second := order[0], order[1]
		f.detail = fmt.Sprintf("%s said %d things and died, %s said %d and was done", first, said[first], second, said[second])
		f.ok = attempt(first) == "1" && attempt(second) == "2" && epoch(first) == epoch(second) && done == second &&
			said[first] >= dyingLine && said[first] < said[second] && said[second] >= minEvents
	}
	return f
}

// epoch and attempt are the two parts of a source.
func epoch(source string) string   { e, _, _ := strings.Cut(source, "/"); return e }
func attempt(source string) string { _, a, _ := strings.Cut(source, "/"); return a }

// of returns what was seen of an agent's session.
func of(all []seen, agent string) seen {
	for _, s := range all {
		if s.sent.agent == agent {
			return s
		}
	}
	return seen{}
}
