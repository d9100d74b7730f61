package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// TestJudgeOfFaults breaks what is told of the two faults: each time exactly that fact is found.
func TestJudgeOfFaults(t *testing.T) {
	const accepted, once = "signals were accepted while a member of etcd was down", "after the database's death every event is there once"
	down := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	// at moves the acceptance, also in what streamed in.
	at := func(o *outcome, q *seen, d time.Duration) {
		q.events[0].Time = timestamppb.New(down.Add(d))
		o.streamed[0].Time = q.events[0].Time
	}
	for _, c := range []struct {
		name  string
		spoil func(o *outcome, queue *seen)
		want  []string
	}{
		{"nothing", func(*outcome, *seen) {}, nil},
		{"an event came after the last that streamed in", func(o *outcome, _ *seen) { o.streamed = o.streamed[:len(o.streamed)-1] }, nil},
		{"accepted before", func(o *outcome, q *seen) { at(o, q, -time.Second) }, []string{accepted}},
		{"accepted after", func(o *outcome, q *seen) { at(o, q, time.Minute) }, []string{accepted}},
		{"no signal was sent", func(o *outcome, _ *seen) { o.whileDown = 0 }, []string{accepted}},
		{"the end is lost", func(_ *outcome, q *seen) { q.events = q.events[:len(q.events)-1] }, []string{once}},
		{"an event is lost and the log renumbered", func(_ *outcome, q *seen) {
			q.events = append(q.events[:9:9], q.events[10:]...)
			renumber(q)
		}, []string{once}},
		{"an event is there twice", func(_ *outcome, q *seen) { q.events = append(q.events, proto.CloneOf(q.events[9])) }, []string{once}},
		{"an event changed", func(_ *outcome, q *seen) { q.events[9].Text += "." }, []string{once}},
		{"nothing streamed before", func(o *outcome, _ *seen) { o.beforeDeath = 0 }, []string{once}},
		{"nothing streamed after", func(o *outcome, _ *seen) { o.beforeLife = len(o.streamed) }, []string{once}},
		{"the log is empty", func(_ *outcome, q *seen) { q.events = nil }, []string{accepted, once}},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := good()
			queue := &all[2]
			queue.sent.session = "queue"
			o := outcome{memberDown: down, memberUp: down.Add(5 * time.Second), whileDown: 1, beforeDeath: 5, beforeLife: 7}
			for _, e := range queue.events {
				e.Time = timestamppb.New(down.Add(time.Second))
				o.streamed = append(o.streamed, proto.CloneOf(e))
			}
			for _, s := range all[:2] { // those of the story came before
				for _, e := range s.events {
					e.Time = timestamppb.New(down.Add(-time.Minute))
				}
			}
			c.spoil(&o, queue)
			var got []string
			for _, f := range judgeFaults(o, "queue", all) {
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

// A session that gets several signals must have each of them settled once.
func TestJudgeOfSeveralSignals(t *testing.T) {
	for _, c := range []struct {
		name     string
		accepted []uint64
		done     []uint64
		ok       bool
	}{
		{"in one turn", []uint64{1, 2}, []uint64{1, 2}, true},
		{"one is not settled", []uint64{1, 2}, []uint64{1}, false},
		{"one twice, one never", []uint64{1, 2}, []uint64{1, 1}, false},
		{"one that was never sent", []uint64{1, 2, 3}, []uint64{1, 2, 3}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := good()
			s := &all[2]
			s.sent.signals = 2
			s.events[0].Signals, s.events[len(s.events)-1].Signals = c.accepted, c.done
			held := map[string]bool{}
			for _, f := range judge(checkout, all) {
				held[f.name] = f.ok
			}
			if held["x: each signal is settled once"] != c.ok {
				t.Errorf("the fact holds: %t, want %t", !c.ok, c.ok)
			}
			if held["x: one event per package"] {
				t.Error("two signals, and one event per package was enough")
			}
		})
	}
}
