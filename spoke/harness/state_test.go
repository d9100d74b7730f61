package harness_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
)

// counting is an agent that counts its turns in a file of each directory and says what it finds. It hangs when it is told to.
const counting = `n=$(cat "$HOME/n" 2>/dev/null || echo 0); echo "found $n$NAVE_STATE_LOST $(cat w 2>/dev/null)"
n=$((n+1)); echo $n > "$HOME/n"; echo $n > w; case $(cat) in *hang*) exec sleep 3600;; esac`

// checkpointOf is what an event names.
func checkpointOf(e api.Event) string { return e.Attributes[api.AttrCheckpoint] }

// saved waits for the n-th event about a checkpoint in the bucket.
func (r *rig) saved(n int) api.Event {
	r.t.Helper()
	var found []api.Event
	r.await(fmt.Sprintf("%d saved checkpoints", n), func(e api.Event) bool {
		if e.Type == api.EventSaved {
			found = append(found, e)
		}
		return len(found) == n
	})
	return found[n-1]
}

// state waits for what the attempt begins from.
func (r *rig) state() (from, id string) {
	r.t.Helper()
	events := r.await("the state is restored", func(e api.Event) bool { return e.Type == api.EventState })
	i := slices.IndexFunc(events, func(e api.Event) bool { return e.Type == api.EventState })
	if i != 1 || events[0].Type != api.EventStarted {
		r.t.Fatalf("the state is restored by event %d, want the second one", i+1)
	}
	return events[i].Attributes[api.AttrFrom], checkpointOf(events[i])
}

func types(events []api.Event) []api.EventType {
	var ts []api.EventType
	for _, e := range events {
		if e.Type != api.EventMessage && e.Type != api.EventLog {
			ts = append(ts, e.Type)
		}
	}
	return ts
}

func TestEveryTurnIsSavedBeforeTheNext(t *testing.T) {
	r := newRig(t, counting+`; head -c 3000000 /dev/urandom > "big$n"`)
	r.begin()
	r.door.Tell(r.id, spoke.Orders{Signals: []api.Signal{sig(1, 0, ""), sig(2, 0, ""), sig(3, 0, "")}, Single: true})
	r.saved(3)
	events := r.await("all", func(api.Event) bool { return true })
	want := []api.EventType{api.EventStarted, api.EventState}
	for range 3 {
		want = append(want, api.EventTurn, api.EventTurnDone, api.EventSaved)
	}
	if got := types(events); !slices.Equal(got, want) {
		t.Fatalf("events %v, want %v", got, want)
	}
	var named []api.CheckpointID
	for i, e := range events {
		if e.Type == api.EventSaved {
			if checkpointOf(e) != checkpointOf(events[i-1]) {
				t.Errorf("saved is %s, the turn before named %s", checkpointOf(e), checkpointOf(events[i-1]))
			}
			named = append(named, api.CheckpointID(checkpointOf(e)))
		}
	}
	_, saves, packs := r.v.took()
	if !slices.Equal(named, saves) {
		t.Errorf("the events name %v, the vault has %v", named, saves)
	}
	if packs[2] < 3_000_000 || packs[2] > 4_000_000 {
		t.Errorf("the packs have %d bytes: want only what is new in each", packs)
	}
	if code, _ := r.end(); code != 0 {
		t.Errorf("ended with %d", code)
	}
}

// What the next attempt finds depends on what is left, never on what was begun.
func TestAttemptsBeginFromTheirCheckpoint(t *testing.T) {
	wipe := func(r *rig) {
		for _, d := range []string{r.w.Home, r.w.Workspace, r.w.State} {
			if err := os.RemoveAll(d); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	hang := func(r *rig) { // in a turn that has changed the state
		r.door.Tell(r.id, orders(sig(3, 0, "hang")))
		r.message("found 2 2")
		r.eventually("the state has changed", func() bool {
			b, err := os.ReadFile(filepath.Join(r.w.Workspace, "w"))
			return err == nil && string(b) == "3\n"
		})
		r.killed()
	}
	for _, tt := range []struct {
		name    string
		between func(r *rig)
		latest  int // index of the checkpoint that is wanted; 0: none
		saved   int
		from    string
		begins  int // index of the checkpoint that it begins from
		found   string
	}{
		{"ended in order", func(r *rig) { r.end() }, 2, 2, "kept", 2, "found 2 2"},
		{"killed between turns", (*rig).killed, 2, 1, "kept", 2, "found 2 2"},
		{"killed in a turn", hang, 2, 1, "local", 2, "found 2 2"},
		{"the record did not arrive", (*rig).killed, 1, 1, "local or bucket", 1, "found 1 1"}, // it did here, and its chunks may be gone
		{"only the saved one is wanted", hang, 0, 2, "local", 2, "found 2 2"},
		{"another machine", func(r *rig) { r.killed(); wipe(r) }, 0, 2, "bucket", 2, "found 2 2"},
		{"the disk is lost", func(r *rig) { hang(r); wipe(r) }, 2, 1, "bucket", 1, "found 1 1"},
		{"nothing is wanted", hang, 0, 0, "empty", 0, "found 0 "},
		{"a chunk is damaged", func(r *rig) { hang(r); r.damage() }, 2, 1, "bucket", 1, "found 1 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, counting)
			r.begin()
			r.door.Tell(r.id, spoke.Orders{Signals: []api.Signal{sig(1, 0, ""), sig(2, 0, "")}, Single: true})
			ids := []string{"", checkpointOf(r.saved(1)), checkpointOf(r.saved(2))}
			tt.between(r)
			r.again(ids[tt.latest], ids[tt.saved])
			if from, id := r.state(); !slices.Contains(strings.Split(tt.from, " or "), from) || id != ids[tt.begins] {
				t.Errorf("it begins from %s %.8s, want %s %.8s of %.8s", from, id, tt.from, ids[tt.begins], ids)
			}
			r.door.Tell(r.id, orders(sig(4, 0, "")))
			r.message(tt.found)
			if record := r.records(1)[0]; record.Outcome != api.OutcomeDone || checkpointOf(record) == "" {
				t.Errorf("turn record %+v", record)
			}
			if _, err := os.Stat(filepath.Join(r.w.State, "aside")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("what was put aside is still there (%v)", err)
			}
			r.end()
		})
	}
}

// damage turns a byte in each local pack.
func (r *rig) damage() {
	r.t.Helper()
	packs, err := filepath.Glob(filepath.Join(r.w.State, "chunks", "packs", "*"))
	if err != nil || len(packs) == 0 {
		r.t.Fatalf("local packs %v, %v", packs, err)
	}
	for _, p := range packs {
		b, err := os.ReadFile(p)
		if err != nil {
			r.t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		if err := os.WriteFile(p, b, 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
}

func TestStateThatIsLost(t *testing.T) {
	gone := strings.Repeat("ab", 32)
	for _, tt := range []struct {
		name, onLoss, found string
	}{{"fail", "fail", ""}, {"continue", "continue", "found 01 "}} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, counting)
			r.w.OnStateLoss, r.w.StateSaved = tt.onLoss, gone
			if err := errors.Join(os.MkdirAll(r.w.Home, 0o700), os.WriteFile(filepath.Join(r.w.Home, "n"), []byte("7"), 0o600)); err != nil {
				t.Fatal(err)
			}
			r.begin()
			r.door.Tell(r.id, orders(sig(1, 0, "")))
			if tt.found == "" {
				code, exit := r.wait()
				if code != 1 || exit.Failure != string(api.StartFailureRestore) || !strings.Contains(exit.Reason, "restore the state") {
					t.Errorf("ended with %d, %v", code, exit)
				}
				events := r.await("its end", func(e api.Event) bool { return e.Type == api.EventEnded })
				if got := types(events); !slices.Equal(got, []api.EventType{api.EventStarted, api.EventEnded}) || events[1].Attributes[api.AttrFailure] != "restore" {
					t.Errorf("events %+v", events)
				}
				if b, err := os.ReadFile(filepath.Join(r.w.State, "aside", "home", "n")); err != nil || string(b) != "7" {
					t.Errorf("what was there is not aside: %q, %v", b, err)
				}
				return
			}
			if from, id := r.state(); from != "lost" || id != "" {
				t.Errorf("it begins from %s %s", from, id)
			}
			r.message(tt.found)
			r.records(1)
			r.end()
		})
	}
}

// A bucket that is away is not a state that is lost: it is waited for.
func TestRestoreWaitsForTheBucket(t *testing.T) {
	r := newRig(t, counting)
	r.begin()
	r.door.Tell(r.id, orders(sig(1, 0, "")))
	id := checkpointOf(r.saved(1))
	r.killed()
	if err := os.RemoveAll(r.w.State); err != nil {
		t.Fatal(err)
	}
	r.v.set(func() { r.v.away = api.Errorf(api.CodeUnavailable, "no hub") })
	r.w.OnStateLoss = "continue"
	r.again(id, id)
	r.eventually("it tried to fetch", func() bool { r.v.mu.Lock(); defer r.v.mu.Unlock(); return r.v.fetches > 0 })
	r.v.set(func() { r.v.away = nil })
	if from, got := r.state(); from != "bucket" || got != id {
		t.Errorf("it begins from %s %s", from, got)
	}
	// A stop ends the waiting.
	r.end()
	if err := os.RemoveAll(r.w.State); err != nil {
		t.Fatal(err)
	}
	r.v.set(func() { r.v.away = api.Errorf(api.CodeUnavailable, "no hub") })
	r.again(id, id)
	r.await("it began", func(e api.Event) bool { return e.Type == api.EventStarted })
	if code, exit := r.end(); code != 0 || exit.Reason != "stopped" {
		t.Errorf("ended with %d, %v", code, exit)
	}
}

// Without the bucket turns go on; what was not saved is covered by the next checkpoint, or saved when there is nothing to do.
func TestTurnsGoOnWithoutTheBucket(t *testing.T) {
	r := newRig(t, counting)
	r.begin()
	r.v.set(func() { r.v.away = api.Errorf(api.CodeUnavailable, "no hub") })
	r.door.Tell(r.id, spoke.Orders{Signals: []api.Signal{sig(1, 0, ""), sig(2, 0, "")}, Single: true})
	records := r.records(2)
	r.v.set(func() { r.v.away = nil })
	saved := r.saved(1)
	if _, saves, _ := r.v.took(); checkpointOf(saved) != checkpointOf(records[1]) || len(saves) != 1 {
		t.Errorf("saved is %s, the last turn named %s; the vault has %v", checkpointOf(saved), checkpointOf(records[1]), saves)
	}
	for _, e := range r.await("all", func(api.Event) bool { return true }) {
		if e.Type == api.EventLog {
			t.Errorf("a hub that is away is reported by the agent's log: %q", e.Text)
		}
	}
}

// A transfer that stands still holds work up for no longer than it may, and is waited for without work.
func TestTransferThatStandsStill(t *testing.T) {
	r := newRig(t, counting+`; head -c 3000000 /dev/urandom > big`)
	r.env = []string{"NAVE_TEST_STALL=1s"}
	r.begin()
	r.v.set(func() { r.v.stuck = true })
	r.door.Tell(r.id, orders(sig(1, 0, "")))
	r.records(1)
	r.eventually("the transfer began", func() bool { return r.v.tries() == 1 })
	begin := time.Now()
	r.eventually("two seconds have passed", func() bool { return time.Since(begin) > 2*time.Second })
	if n := r.v.tries(); n != 1 {
		t.Errorf("%d transfers began though nothing waited", n)
	}
	r.door.Tell(r.id, orders(sig(1, 0, ""), sig(2, 0, "")))
	second := r.records(2)[1]
	r.v.set(func() { r.v.stuck = false })
	if saved := r.saved(1); checkpointOf(saved) != checkpointOf(second) {
		t.Errorf("saved is %s, the last turn named %s", checkpointOf(saved), checkpointOf(second))
	}
}

// The bucket has lost a pack that a checkpoint refers to: it is taken again, whole.
func TestPackThatIsGone(t *testing.T) {
	r := newRig(t, `[ -f same ] || head -c 100000 /dev/urandom > same; `+counting)
	r.begin()
	r.door.Tell(r.id, orders(sig(1, 0, "")))
	r.saved(1)
	r.v.set(func() { clear(r.v.parts) })
	r.door.Tell(r.id, orders(sig(1, 0, ""), sig(2, 0, "")))
	saved := r.saved(2)
	r.killed()
	for _, d := range []string{r.w.State, r.w.Home, r.w.Workspace} {
		if err := os.RemoveAll(d); err != nil {
			t.Fatal(err)
		}
	}
	r.again("", checkpointOf(saved))
	r.door.Tell(r.id, orders(sig(3, 0, "")))
	r.message("found 2 2")
}

// A turn that changes nothing needs no transfer, and is covered all the same.
func TestTurnThatChangesNothing(t *testing.T) {
	r := newRig(t, `echo hello`)
	r.begin()
	r.door.Tell(r.id, spoke.Orders{Signals: []api.Signal{sig(1, 0, ""), sig(2, 0, "")}, Single: true})
	first, second := r.saved(1), r.saved(2)
	if checkpointOf(first) != checkpointOf(second) || r.v.tries() != 1 {
		t.Errorf("saved are %s and %s by %d transfers", checkpointOf(first), checkpointOf(second), r.v.tries())
	}
	// The spoke has the record and not the event about the bucket: the next attempt says it.
	r.killed()
	r.again(checkpointOf(second), checkpointOf(first))
	if again := r.saved(1); checkpointOf(again) != checkpointOf(first) || r.v.tries() != 1 {
		t.Errorf("saved is %s after %d transfers", checkpointOf(again), r.v.tries())
	}
}

// What an attempt begins from and is not in the bucket goes there before anything happens to it.
func TestUnsavedStateIsSavedFirst(t *testing.T) {
	r := newRig(t, counting)
	r.begin()
	r.v.set(func() { r.v.away = api.Errorf(api.CodeUnavailable, "no hub") })
	r.door.Tell(r.id, orders(sig(1, 0, "")))
	latest := checkpointOf(r.records(1)[0])
	r.killed()
	r.v.set(func() { r.v.away = nil })
	r.again(latest, "")
	r.door.Tell(r.id, orders(sig(2, 0, "")))
	r.records(1)
	events := r.await("all", func(api.Event) bool { return true })
	want := []api.EventType{api.EventStarted, api.EventState, api.EventSaved, api.EventTurn, api.EventTurnDone}
	if got := types(events); !slices.Equal(got[:5], want) || checkpointOf(events[2]) != latest {
		t.Errorf("events %v, want %v", got, want)
	}
}

// Whoever is to end saves first what the last turn did, though it was cut.
func TestStopSavesFirst(t *testing.T) {
	for _, mode := range []api.CheckpointMode{api.CheckpointTurn, api.CheckpointInterval, api.CheckpointIdle} {
		t.Run(string(mode), func(t *testing.T) {
			r := newRig(t, counting)
			r.w.CheckpointMode, r.w.CheckpointInterval = string(mode), durationpb.New(time.Hour)
			r.begin()
			r.door.Tell(r.id, orders(sig(1, 0, "hang")))
			r.message("found 0 ")
			r.eventually("the state has changed", func() bool {
				b, err := os.ReadFile(filepath.Join(r.w.Workspace, "w"))
				return err == nil && string(b) == "1\n"
			})
			if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if code, exit := r.wait(); code != 0 {
				t.Errorf("ended with %d, %v", code, exit)
			}
			events := r.await("the end", func(e api.Event) bool { return e.Type == api.EventEnded })
			want := []api.EventType{api.EventStarted, api.EventState, api.EventTurn, api.EventTurnDone, api.EventSaved, api.EventEnded}
			if got := types(events); !slices.Equal(got, want) {
				t.Fatalf("events %v, want %v", got, want)
			}
			record := r.records(1)[0]
			if named := checkpointOf(record) != ""; record.Outcome != api.OutcomeCut || named != (mode == api.CheckpointTurn) {
				t.Errorf("turn record %+v", record)
			}
			r.again("", checkpointOf(r.saved(1)))
			if from, _ := r.state(); from != "kept" {
				t.Errorf("it begins from %s", from)
			}
			r.door.Tell(r.id, orders(sig(1, 0, "")))
			r.message("found 1 1")
		})
	}
}

// Whoever is to end tries once more to save, whatever went wrong before.
func TestStopTriesOnceMore(t *testing.T) {
	r := newRig(t, counting)
	r.begin()
	r.v.set(func() { r.v.away = api.Errorf(api.CodeUnavailable, "no hub") })
	r.door.Tell(r.id, orders(sig(1, 0, "")))
	r.eventually("it tried some times", func() bool { return r.v.tries() == 3 }) // the next pause is four seconds
	r.v.set(func() { r.v.away = nil })
	r.end()
	events := r.await("the end", func(e api.Event) bool { return e.Type == api.EventEnded })
	if got := types(events); got[len(got)-2] != api.EventSaved {
		t.Errorf("events %v, want it saved before the end", got)
	}
}

// In mode idle a turn that another one follows is not saved alone.
func TestIdleMode(t *testing.T) {
	r := newRig(t, counting)
	r.w.CheckpointMode = string(api.CheckpointIdle)
	r.begin()
	r.door.Tell(r.id, spoke.Orders{Signals: []api.Signal{sig(1, 0, ""), sig(2, 0, ""), sig(3, 0, "")}, Single: true})
	r.saved(1)
	if records := r.records(3); checkpointOf(records[2]) != "" || r.v.tries() != 1 {
		t.Errorf("%d transfers, last record %+v", r.v.tries(), records[2])
	}
}

// Init scripts change the directories: an attempt that ended before its first turn is no state to keep.
func TestInitScriptsTakeTheMarkerAway(t *testing.T) {
	r := newRig(t, counting)
	r.begin()
	r.door.Tell(r.id, orders(sig(1, 0, "")))
	id := checkpointOf(r.saved(1))
	r.end()
	r.w.InitScripts = initScript(`echo 9 > "$HOME/n"; echo ready; exec sleep 3600`)
	r.again(id, id)
	r.message("ready")
	r.killed()
	r.w.InitScripts = nil
	r.again(id, id)
	if from, _ := r.state(); from != "local" {
		t.Errorf("it begins from %s", from)
	}
	r.door.Tell(r.id, orders(sig(2, 0, "")))
	r.message("found 1 1")
}
