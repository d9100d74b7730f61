package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
)

// minEvents is how many events of agents a run must have at least, in all.
const minEvents = 200

// counted is what the judge found in the checkout by itself.
type counted struct{ packages, files int }

// count walks the checkout as the go command does: folders that begin with "." or "_", testdata and vendor are left out.
func count(root string) (counted, error) {
	var c counted
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if n := d.Name(); path != root && (strings.HasPrefix(n, ".") || strings.HasPrefix(n, "_") || n == "testdata" || n == "vendor" || n == "node_modules") {
			return filepath.SkipDir
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return err
		}
		files := 0
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".go") && !e.IsDir() {
				files++
			}
		}
		if files > 0 {
			c.packages++
			c.files += files
		}
		return nil
	})
	return c, err
}

// fact is something that must be true of a run.
type fact struct {
	name   string
	detail string
	ok     bool
}

// judge compares what the API says with what must be true.
func judge(want counted, all []seen) []fact {
	var facts []fact
	say := func(ok bool, name, format string, args ...any) {
		facts = append(facts, fact{name, fmt.Sprintf(format, args...), ok})
	}
	total := 0
	ran := map[string]bool{}
	for _, s := range all {
		packages, files := map[string]int{}, map[string]int{} // by source
		messages := 0
		accepted, done := map[uint64]int{}, map[uint64]int{} // by the signal's place in the session
		whole := map[string]bool{}                           // sources with a turn that is done: an attempt that died has said a part
		where := map[string]bool{}
		for _, ev := range s.events {
			if ev.GetCluster() != "" {
				where[ev.GetCluster()] = true
				ran[ev.GetCluster()] = true
			}
			switch api.EventType(ev.GetType()) {
			case api.EventMessage:
				messages++
				if strings.HasPrefix(ev.GetText(), "package ") {
					packages[ev.GetSource()]++
				}
				if strings.HasPrefix(ev.GetText(), "file ") {
					files[ev.GetSource()]++
				}
			case api.EventAccepted:
				tally(accepted, ev)
			case api.EventTurnDone:
				if ev.GetOutcome() == string(api.OutcomeDone) {
					tally(done, ev)
					whole[ev.GetSource()] = true
				}
			}
		}
		total += messages
		name := s.sent.name()
		say(dense(s) == "", name+": the log is ordered, without gaps or doubles", "%d events%s", len(s.events), dense(s))
		if s.sent.detail != "" {
			n := within(packages, whole)
			say(n == want.packages*s.sent.signals, name+": one event per package", "%d of %d", n, want.packages*s.sent.signals)
		}
		if s.sent.detail == "files" {
			n := within(files, whole)
			say(n == want.files*s.sent.signals, name+": one event per file", "%d of %d", n, want.files*s.sent.signals)
		}
		if s.sent.followed {
			say(messages == s.sent.lines, name+": what streamed in is what the log has", "%d lines, %d messages", s.sent.lines, messages)
		}
		fact := ": the signal is settled once"
		if s.sent.signals > 1 {
			fact = ": each signal is settled once"
		}
		say(once(accepted, s.sent.signals) && once(done, s.sent.signals) && s.pending == 0, name+fact, "%d accepted, %d done, %d pending", sum(accepted), sum(done), s.pending)
		say(s.phase == string(api.PhaseDormant), name+": sleeps", "%s", s.phase)
		if s.sent.cloud != "" {
			right := len(where) == 1
			for c := range where {
				right = right && s.clouds[c] == s.sent.cloud
			}
			say(right, name+": ran in "+s.sent.cloud+" only", "%v", keys(where))
		} else {
			say(len(where) == 1, name+": ran in one cluster", "%v", keys(where))
		}
	}
	say(len(ran) == len(clusters), "every cluster was used", "%v", keys(ran))
	say(total >= minEvents, fmt.Sprintf("at least %d events of agents", minEvents), "%d", total)
	return facts
}

// within adds up what some sources said.
func within(counts map[string]int, sources map[string]bool) (n int) {
	for s := range sources {
		n += counts[s]
	}
	return n
}

// tally counts the signals that an event is about.
func tally(counts map[uint64]int, ev *navev1.Event) {
	for _, sequence := range ev.GetSignals() {
		counts[sequence]++
	}
}

// once reports whether the signals 1 to n were counted once each, and no other.
func once(counts map[uint64]int, n int) bool {
	for sequence := range uint64(n) {
		if counts[sequence+1] != 1 {
			return false
		}
	}
	return len(counts) == n
}

func sum(counts map[uint64]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// dense describes the first place where numbers or source numbers are not dense, or "".
func dense(s seen) string {
	sources := map[string]uint64{}
	for i, ev := range s.events {
		if ev.GetNumber() != uint64(i+1) {
			return fmt.Sprintf(", number %d at place %d", ev.GetNumber(), i+1)
		}
		if sources[ev.GetSource()]++; ev.GetSourceNumber() != sources[ev.GetSource()] {
			return fmt.Sprintf(", event %d of source %s at place %d", ev.GetSourceNumber(), ev.GetSource(), sources[ev.GetSource()])
		}
	}
	if len(s.events) == 0 {
		return ", the log is empty"
	}
	return ""
}

func keys(m map[string]bool) []string {
	var out []string
	for _, c := range clusters {
		if m[c.name] {
			out = append(out, c.name)
		}
	}
	return out
}

func failed(facts []fact) (n int) {
	for _, f := range facts {
		if !f.ok {
			n++
		}
	}
	return n
}

func show(facts []fact) {
	title("What the API says afterwards")
	for _, f := range facts {
		mark := "ok  "
		if !f.ok {
			mark = "FAIL"
		}
		fmt.Printf("  %s  %-62s %s\n", mark, f.name, f.detail)
	}
}
