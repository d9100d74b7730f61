package harness

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// TestNext plays transcripts: facts are set, turns end, and each line of the output is what next decides then.
//
//	orders   signals as sequence or sequence/deliveries, then single, stop, cancel=sequence
//	running  the signals of the turn that runs
//	ended    done, failed, cut, cancelled: how it ended
//	opened   a conversation is open; cut: it was cut; closed: it is not open any more
//	prepared  the preparation ended well; cut: it was cut
//	restored  the state is restored
//	mode     of checkpoints; taken, saved: it went well; with wrong: it did not
//	set      lapsed, interrupt, calm, elapsed, stalled, uncovered = true or false
//
// A drop is done at once. The commands say where it begins: restore, begin (restored), save (prepared, turns need checkpoints),
// play (they do not). The argument converses says that turns need a conversation.
func TestNext(t *testing.T) {
	datadriven.RunTest(t, "testdata/next.txt", func(t *testing.T, d *datadriven.TestData) string {
		var f facts
		f.failed = make(map[uint64]uint32)
		f.prepared, f.restored, f.calm = d.Cmd == "play" || d.Cmd == "save", d.Cmd != "restore", true
		f.mode, f.converses = api.CheckpointTurn, d.HasArg("converses")
		saves := d.Cmd == "save"
		var turn []*harnessv1.Signal
		var out strings.Builder
		for _, line := range strings.Split(d.Input, "\n") {
			words := strings.Fields(line)
			switch words[0] {
			case "orders":
				f.signals, f.single, f.stop, f.cancelled, f.reason = nil, false, "", 0, ""
				for _, w := range words[1:] {
					upTo, cancels := strings.CutPrefix(w, "cancel=")
					switch {
					case w == "single":
						f.single = true
					case w == "stop":
						f.stop = "stop"
					case cancels:
						f.cancelled, f.reason = parseSignal(t, upTo).Sequence, "ada cancelled it"
					default:
						f.signals = append(f.signals, parseSignal(t, w))
					}
				}
			case "set":
				on := words[2] == "true"
				switch words[1] {
				case "lapsed":
					f.lapsed = map[bool]string{true: "lapsed"}[on]
				case "interrupt":
					f.interrupt = on
				case "calm":
					f.calm = on
				case "elapsed":
					f.elapsed = on
				case "stalled":
					f.stalled = on
				case "uncovered":
					f.uncovered = on
				default:
					t.Fatalf("%s: no such fact", d.Pos)
				}
			case "ended":
				for _, s := range turn {
					switch words[1] {
					case "done", "cancelled":
						f.consumed = f.consumed.with(s.Sequence)
					case "failed":
						f.failed[s.Sequence] = s.Deliveries
					case "cut":
					default:
						t.Fatalf("%s: no such outcome", d.Pos)
					}
				}
				f.task, turn, f.running, f.opened = taskNone, nil, nil, false
				f.open = saves && f.mode == api.CheckpointTurn
			case "mode":
				f.mode = api.CheckpointMode(words[1])
			case "taken":
				f.task, f.open = taskNone, false
				if len(words) == 1 {
					f.dirty, f.uncovered = false, true
				} else {
					f.calm = false
				}
			case "saved":
				f.task, f.stalled = taskNone, false
				if len(words) == 1 {
					f.uncovered = false
				} else {
					f.calm = false
				}
			case "restored":
				f.task, f.restored = taskNone, true
			case "opened":
				f.task, f.opened = taskNone, len(words) == 1
			case "closed":
				f.task, f.opened = taskNone, false
			case "prepared":
				f.task, f.prepared = taskNone, len(words) == 1
			default:
				t.Fatalf("%s: no such line: %s", d.Pos, line)
			}
			s := next(f)
			fmt.Fprintf(&out, "%-28s ", line)
			for s.kind == stepDrop {
				fmt.Fprintf(&out, "drop %v: %s, then ", sequences(s.signals), s.reason)
				for _, d := range s.signals {
					f.consumed = f.consumed.with(d.Sequence)
				}
				f.dirty, f.open = saves, saves && f.mode == api.CheckpointTurn
				s = next(f)
			}
			out.WriteString(s.kind)
			switch s.kind {
			case stepRestore, stepPrepare, stepOpen, stepClose, stepTake, stepUpload:
				f.task, f.opened = kinds[s.kind], false
			case stepRun:
				f.task, f.dirty, f.opened = taskTurn, saves, false
				turn, f.running = s.signals, sequences(s.signals)
				fmt.Fprintf(&out, " %v", f.running)
			}
			if s.reason != "" {
				fmt.Fprintf(&out, ": %s", s.reason)
			}
			out.WriteByte('\n')
		}
		return out.String()
	})
}

func parseSignal(t *testing.T, w string) *harnessv1.Signal {
	t.Helper()
	seq, deliveries, _ := strings.Cut(w, "/")
	n, err := strconv.ParseUint(seq, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	s := &harnessv1.Signal{Sequence: n}
	if deliveries != "" {
		d, err := strconv.ParseUint(deliveries, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		s.Deliveries = uint32(d)
	}
	return s
}

// A history of orders and outcomes never runs what was consumed or cancelled, never runs signals out of order, and never
// repeats a failure that was not handed out anew. What is cancelled and waits is dropped before anything runs.
func TestNextKeepsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := facts{restored: true, prepared: true, calm: true, failed: make(map[uint64]uint32)}
		deliveries := make(map[uint64]uint32)
		oldest, newest := uint64(1), uint64(0)
		highest := uint64(0) // consumed
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			newest += uint64(rapid.IntRange(0, 2).Draw(t, "accepted"))
			if rapid.Bool().Draw(t, "settle") {
				for oldest <= newest && f.consumed.has(oldest) {
					oldest++
				}
			}
			f.signals = nil
			for n := oldest; n <= newest; n++ {
				f.signals = append(f.signals, &harnessv1.Signal{Sequence: n, Deliveries: deliveries[n]})
			}
			f.single = rapid.Bool().Draw(t, "single")
			f.lapsed = rapid.SampledFrom([]string{"", "", "", "lapsed"}).Draw(t, "lapsed")
			if rapid.IntRange(0, 4).Draw(t, "cancel") == 0 {
				f.cancelled = max(f.cancelled, rapid.Uint64Range(0, newest).Draw(t, "up to"))
			}
			s := next(f)
			if s.kind == stepDrop {
				for _, sig := range s.signals {
					if sig.Sequence > f.cancelled || f.consumed.has(sig.Sequence) {
						t.Fatalf("%v are dropped, cancelled up to %d", sequences(s.signals), f.cancelled)
					}
					f.consumed, highest = f.consumed.with(sig.Sequence), sig.Sequence
				}
				if s = next(f); s.kind == stepDrop {
					t.Fatal("a drop follows a drop of everything")
				}
			}
			if s.kind != stepRun {
				continue
			}
			if first := s.signals[0].Sequence; first <= f.cancelled {
				t.Fatalf("%v run, cancelled up to %d", sequences(s.signals), f.cancelled)
			}
			if f.single && len(s.signals) != 1 {
				t.Fatalf("single, and the turn takes %v", sequences(s.signals))
			}
			for i, sig := range s.signals {
				if sig.Sequence != highest+1+uint64(i) {
					t.Fatalf("the turn takes %v after %d was consumed", sequences(s.signals), highest)
				}
				if at, failed := f.failed[sig.Sequence]; failed && sig.Deliveries <= at {
					t.Fatalf("signal %d runs again with %d deliveries, as when it failed", sig.Sequence, sig.Deliveries)
				}
			}
			switch rapid.SampledFrom([]string{"done", "cancelled", "failed", "cut"}).Draw(t, "outcome") {
			case "done", "cancelled":
				for _, sig := range s.signals {
					f.consumed = f.consumed.with(sig.Sequence)
					highest = sig.Sequence
				}
			case "failed":
				for _, sig := range s.signals {
					f.failed[sig.Sequence] = sig.Deliveries
				}
				if rapid.Bool().Draw(t, "handed out anew") {
					for _, sig := range s.signals {
						deliveries[sig.Sequence]++
					}
				}
			}
		}
	})
}

func TestSpans(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var ss spans
		in := make(map[uint64]bool)
		for range 30 {
			n := uint64(rng.IntN(40))
			ss, in[n] = ss.with(n), true
		}
		for n := range uint64(42) {
			if ss.has(n) != in[n] {
				t.Fatalf("%v has %d: %v, want %v", ss, n, ss.has(n), in[n])
			}
		}
		if !slices.IsSortedFunc(ss, func(a, b span) int { return int(a.from) - int(b.from) }) {
			t.Fatalf("%v is not sorted", ss)
		}
		for i := 1; i < len(ss); i++ {
			if ss[i-1].to+1 >= ss[i].from {
				t.Fatalf("%v has neighbours that are one span", ss)
			}
		}
	}
}
