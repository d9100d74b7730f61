package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
)

// checkout is what the judge of these tests counted.
var checkout = counted{packages: 40, files: 60}

// good is a run of which every fact holds.
func good() []seen {
	clouds := map[string]string{"aws-1": "aws", "gcp-1": "gcp", "azure-1": "azure"}
	log := func(cluster string, files int) []*navev1.Event {
		var out []*navev1.Event
		numbers := map[string]uint64{}
		add := func(source string, e *navev1.Event) {
			numbers[source]++
			e.Number, e.Source, e.SourceNumber = uint64(len(out)+1), source, numbers[source]
			if source != "hub" {
				e.Cluster = cluster
			}
			out = append(out, e)
		}
		add("hub", &navev1.Event{Type: string(api.EventAccepted), Signals: []uint64{1}})
		add("1.1/1", &navev1.Event{Type: string(api.EventTurn)})
		for i := range checkout.packages {
			add("1.1/1", &navev1.Event{Type: string(api.EventMessage), Text: fmt.Sprintf("package p%d", i)})
		}
		for i := range files {
			add("1.1/1", &navev1.Event{Type: string(api.EventMessage), Text: fmt.Sprintf("file f%d", i)})
		}
		add("1.1/1", &navev1.Event{Type: string(api.EventTurnDone), Outcome: string(api.OutcomeDone), Signals: []uint64{1}})
		return out
	}
	session := func(agent, cloud, detail, cluster string, files int) seen {
		return seen{sent: sent{agent: agent, key: checkoutKey, signals: 1, cloud: cloud, detail: detail, lines: checkout.packages + files, followed: true}, phase: string(api.PhaseDormant),
			clouds: clouds, events: log(cluster, files)}
	}
	return []seen{session("a", "aws", "files", "aws-1", checkout.files), session("g", "gcp", "files", "gcp-1", checkout.files), session("x", "", "packages", "azure-1", 0)}
}

// renumber makes the log dense again after events were taken out or put in.
func renumber(s *seen) {
	numbers := map[string]uint64{}
	for i, e := range s.events {
		numbers[e.Source]++
		e.Number, e.SourceNumber = uint64(i+1), numbers[e.Source]
	}
}

// message returns the first message that begins with a word.
func message(s *seen, word string) *navev1.Event {
	for _, e := range s.events {
		if strings.HasPrefix(e.GetText(), word) {
			return e
		}
	}
	return nil
}

// TestJudge breaks one fact at a time: exactly it is found.
func TestJudge(t *testing.T) {
	const (
		dense    = ": the log is ordered, without gaps or doubles"
		streamed = ": what streamed in is what the log has"
		once     = ": the signal is settled once"
	)
	for _, c := range []struct {
		name  string
		spoil func(all []seen)
		want  []string
	}{
		{"nothing", func([]seen) {}, nil},
		{"a number is left out", func(all []seen) { all[0].events[5].Number++ }, []string{"a" + dense}},
		{"two events in the wrong order", func(all []seen) { e := all[0].events; e[5], e[6] = e[6], e[5] }, []string{"a" + dense}},
		{"a source's number twice", func(all []seen) { all[1].events[7].SourceNumber-- }, []string{"g" + dense}},
		{"an event of a package is missing", func(all []seen) { message(&all[1], "package").Text = "other" }, []string{"g: one event per package"}},
		{"an event of a package too many", func(all []seen) {
			s := &all[2]
			s.events = append(s.events[:3:3], append([]*navev1.Event{{Type: string(api.EventMessage), Text: "package again", Source: "1.1/1", Cluster: "azure-1"}}, s.events[3:]...)...)
			s.sent.lines++
			renumber(s)
		}, []string{"x: one event per package"}},
		{"an event of a file is missing", func(all []seen) { message(&all[0], "file").Text = "other" }, []string{"a: one event per file"}},
		{"a line was not streamed", func(all []seen) { all[0].sent.lines-- }, []string{"a" + streamed}},
		{"accepted twice", func(all []seen) {
			all[0].events[1].Type, all[0].events[1].Signals = string(api.EventAccepted), []uint64{1}
		}, []string{"a" + once}},
		{"settled twice", func(all []seen) {
			e := all[0].events[1]
			e.Type, e.Outcome, e.Signals = string(api.EventTurnDone), string(api.OutcomeDone), []uint64{1}
		}, []string{"a" + once}},
		{"the turn failed", func(all []seen) { all[1].events[len(all[1].events)-1].Outcome = string(api.OutcomeFailed) }, []string{"g: one event per package", "g: one event per file", "g" + once}},
		{"pending still", func(all []seen) { all[2].pending = 1 }, []string{"x" + once}},
		{"runs still", func(all []seen) { all[0].phase = string(api.PhaseRunning) }, []string{"a: sleeps"}},
		{"one event in the wrong cloud", func(all []seen) { all[0].events[9].Cluster = "gcp-1" }, []string{"a: ran in aws only"}},
		{"in two clusters", func(all []seen) { all[2].events[9].Cluster = "aws-1" }, []string{"x: ran in one cluster"}},
		{"nowhere", func(all []seen) {
			for _, e := range all[2].events {
				e.Cluster = ""
			}
		}, []string{"x: ran in one cluster", "every cluster was used"}},
		{"all in one cluster", func(all []seen) {
			for _, e := range all[1].events {
				e.Cluster = strings.ReplaceAll(e.Cluster, "gcp-1", "aws-1")
			}
			for _, e := range all[2].events {
				e.Cluster = strings.ReplaceAll(e.Cluster, "azure-1", "aws-1")
			}
		}, []string{"g: ran in gcp only", "every cluster was used"}},
		{"an empty log", func(all []seen) { all[2].events, all[2].sent.lines = nil, 0 },
			[]string{"x" + dense, "x: one event per package", "x" + once, "x: ran in one cluster", "every cluster was used"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := good()
			c.spoil(all)
			var got []string
			for _, f := range judge(checkout, all) {
				if !f.ok {
					got = append(got, f.name)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("facts that do not hold (-want +got):\n%s", diff)
			}
		})
	}
}

// A run that shows too little is no proof.
func TestJudgeWantsEnoughEvents(t *testing.T) {
	all := good()[2:]
	var got []string
	for _, f := range judge(checkout, all) {
		if !f.ok {
			got = append(got, f.name)
		}
	}
	if diff := cmp.Diff([]string{"every cluster was used", fmt.Sprintf("at least %d events of agents", minEvents)}, got); diff != "" {
		t.Errorf("facts that do not hold (-want +got):\n%s", diff)
	}
}
