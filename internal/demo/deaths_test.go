package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
)

// twice is a log of a turn that a machine's death cut off and another attempt did.
func twice() seen {
	s := seen{sent: sent{agent: "a", key: checkoutKey, attempts: 2}}
	say := func(source string, n int) {
		s.events = append(s.events, &navev1.Event{Type: string(api.EventTurn), Source: source, Signals: []uint64{1}})
		for i := range n {
			s.events = append(s.events, &navev1.Event{Type: string(api.EventMessage), Source: source, Text: fmt.Sprint(i)})
		}
	}
	end := func(source string, o api.Outcome) {
		s.events = append(s.events, &navev1.Event{Type: string(api.EventTurnDone), Source: source, Outcome: string(o), Signals: []uint64{1}})
	}
	say("1.1/1", dyingLine)
	end("1.1/1", api.OutcomeFailed)
	say("1.1/2", minEvents)
	end("1.1/2", api.OutcomeDone)
	return s
}

// move puts every event of a source under another one.
func move(s *seen, from, to string) {
	for _, e := range s.events {
		if e.Source == from {
			e.Source = to
		}
	}
}

func TestJudgeOfAttempts(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(s *seen)
		ok    bool
	}{
		{"nothing", func(*seen) {}, true},
		{"only one turn", func(s *seen) { s.events = s.events[dyingLine+2:] }, false},
		{"in another epoch", func(s *seen) { move(s, "1.1/2", "1.2/2") }, false},
		{"the same attempt", func(s *seen) { move(s, "1.1/2", "1.1/1") }, false},
		{"a third attempt", func(s *seen) { move(s, "1.1/2", "1.1/3") }, false},
		{"attempt 1 was done", func(s *seen) { s.events[dyingLine+1].Outcome, s.events[len(s.events)-1].Outcome = "done", "failed" }, false},
		{"nobody was done", func(s *seen) { s.events[len(s.events)-1].Outcome = "failed" }, false},
		{"it died too early", func(s *seen) { s.events = append(s.events[:1:1], s.events[2:]...) }, false},
		{"a turn too short", func(s *seen) { s.events = append(s.events[:10:10], s.events[11:]...) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := twice()
			c.spoil(&s)
			if f := judgeAttempts(s); f.ok != c.ok {
				t.Errorf("the fact holds: %t, want %t: %s", f.ok, c.ok, f.detail)
			}
		})
	}
}

func TestJudgeOfPermission(t *testing.T) {
	log := func() (permits, seen) {
		e := func(source string, typ api.EventType, text string, about ...string) *navev1.Event {
			ev := &navev1.Event{Type: string(typ), Source: source, Text: text, Attributes: map[string]string{}}
			for i := 0; i < len(about); i += 2 {
				ev.Attributes[about[i]] = about[i+1]
			}
			return ev
		}
		done := func(source string) *navev1.Event {
			ev := e(source, api.EventTurnDone, "")
			ev.Outcome = string(api.OutcomeDone)
			return ev
		}
		return permits{asked: "p"}, seen{events: []*navev1.Event{
			e("1.1/1", api.EventAsked, "", api.AttrApproval, "p"), e("hub", api.EventAnswered, "", api.AttrApproval, "p", api.AttrBy, "admin"),
			e("1.1/1", api.EventTaken, "", api.AttrApproval, "p"), done("1.1/1"),
			e("1.2/1", api.EventMessage, "I remember: "), e("1.2/1", api.EventMessage, remembered), done("1.2/1"),
		}}
	}
	const asked, memory = "scribe: the permission was asked, answered and used once", "scribe: a workload of another epoch remembers"
	for _, c := range []struct {
		name  string
		spoil func(p *permits, s *seen)
		want  string
	}{
		{"nothing", func(*permits, *seen) {}, ""},
		{"asked twice", func(_ *permits, s *seen) { s.events = append(s.events, s.events[0]) }, asked},
		{"nobody answered", func(_ *permits, s *seen) { s.events = append(s.events[:1:1], s.events[2:]...) }, asked},
		{"not used", func(_ *permits, s *seen) { s.events = append(s.events[:2:2], s.events[3:]...) }, asked},
		{"another one", func(p *permits, _ *seen) { p.asked = "q" }, asked},
		{"forgotten", func(_ *permits, s *seen) { s.events[5].Text = "nothing" }, memory},
		{"remembered in the turn that was told", func(_ *permits, s *seen) { s.events[5].Source = "1.1/1" }, memory},
		{"the same workload", func(_ *permits, s *seen) { move(s, "1.2/1", "1.1/1") }, memory},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, s := log()
			c.spoil(&p, &s)
			var got []string
			for _, f := range judgePermission(p, s) {
				if !f.ok {
					got = append(got, f.name)
				}
			}
			if strings.Join(got, "; ") != c.want {
				t.Errorf("%q do not hold, want %q", got, c.want)
			}
		})
	}
}
