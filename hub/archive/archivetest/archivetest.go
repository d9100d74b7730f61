package archivetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// Archive is what the suite tests.
type Archive interface {
	hub.Archive
	hub.Reader
	hub.Pruner
}

// Database is one database, empty at first, that can be opened more than once.
type Database interface {
	// Open opens it. The archive is closed by the database: at the next Open, and when the test ends.
	Open(t *testing.T) Archive
}

// Run checks an archive against the contract of the ports. create is called once per test.
func Run(t *testing.T, create func(t *testing.T) Database) {
	for name, test := range tests() {
		t.Run(name, func(t *testing.T) { test(t, create(t)) })
	}
}

// RunOnly runs the named tests, for a fake of which only a part is used.
func RunOnly(t *testing.T, create func(t *testing.T) Database, names ...string) {
	all := tests()
	for _, name := range names {
		test, ok := all[name]
		if !ok {
			t.Errorf("there is no test %q", name)
			continue
		}
		t.Run(name, func(t *testing.T) { test(t, create(t)) })
	}
}

func tests() map[string]func(*testing.T, Database) {
	return map[string]func(*testing.T, Database){
		"Events":             testEvents,
		"Density":            testDensity,
		"Repeats":            testRepeats,
		"OtherContent":       testOtherContent,
		"Fence":              testFence,
		"Raise":              testRaise,
		"Positions":          testPositions,
		"Keys":               testKeys,
		"Settled":            testSettled,
		"SettledIDs":         testSettledIDs,
		"Decisions":          testDecisions,
		"Branches":           testBranches,
		"SideBranches":       testSide,
		"Ended":              testEnded,
		"EndedEpochs":        testEndedEpochs,
		"LastEpochs":         testLastEpochs,
		"SideAtOnce":         testSideAtOnce,
		"SideBesideTheLog":   testSideBesideLog,
		"DeadLetters":        testDeadLetters,
		"Replayed":           testReplayed,
		"Terminated":         testTerminated,
		"Prune":              testPrune,
		"PruneReplayed":      testPruneReplayed,
		"PruneInSteps":       testPruneSteps,
		"Organizations":      testOrganizations,
		"ReadDuringAppends":  testReadDuringAppends,
		"Model":              testModel,
		"ManyAtOnce":         testManyAtOnce,
		"CancelledContext":   testCancelled,
		"TextsOfAllKinds":    testTexts,
		"NothingIsNoRequest": testNothing,
	}
}

const (
	org   = api.DefaultOrg
	shard = api.Shard(200)
)

var (
	began = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)
	first = api.Generation{Incarnation: 1, N: 1}
	spoke = api.Source{Epoch: api.Epoch{Incarnation: 1, N: 3}, Attempt: 2}
)

func session(s api.Shard, n int) api.SessionID {
	return api.NewSessionID(began.Add(time.Duration(n)*time.Millisecond), s, [10]byte{1: 7})
}

func event(s api.SessionID, number uint64, source api.Source, sourceNumber uint64) api.Event {
	return api.Event{Session: s, Number: number, Source: source, SourceNumber: sourceNumber, Type: api.EventTurnDone, Time: began.Add(time.Duration(number)), Cluster: "c",
		Text: fmt.Sprint("text ", number), Signals: []uint64{number, number + 1}, Outcome: api.OutcomeDone, Attributes: map[string]string{"b": "2", "a": "1"}}
}

// sequence is n events of one source from the given numbers on.
func sequence(s api.SessionID, number uint64, source api.Source, sourceNumber uint64, n int) []api.Event {
	var out []api.Event
	for i := range uint64(n) {
		out = append(out, event(s, number+i, source, sourceNumber+i))
	}
	return out
}

func of(s api.Shard, g api.Generation, events ...api.Event) hub.Append {
	return hub.Append{Shard: s, Generation: g, Org: org, Events: events}
}

// raised opens an archive in which the shards have the first generation.
func raised(t *testing.T, db Database, shards ...api.Shard) Archive {
	t.Helper()
	a := db.Open(t)
	for _, s := range append(shards, shard) {
		must(t, "Raise", a.Raise(t.Context(), s, first))
	}
	return a
}

func wantEvents(t tester, a Archive, s api.SessionID, want []api.Event) {
	t.Helper()
	got, err := a.Events(t.Context(), org, s, 0, 10_000)
	must(t, "Events", err)
	wantSame(t, "events", got, want)
}

func wantCode(t tester, what string, err error, code api.Code) {
	t.Helper()
	if api.CodeOf(err) != code {
		t.Fatalf("%s = %v (code %q), want code %q", what, err, api.CodeOf(err), code)
	}
}

func wantStale(t tester, what string, err error, want ...int) {
	t.Helper()
	wantCode(t, what, err, api.CodeConflict)
	var stale *hub.StaleError
	if !errors.As(err, &stale) {
		t.Fatalf("%s = %v, want a StaleError in it", what, err)
	}
	wantSame(t, what, stale.Indexes, want)
}

// tester is what both testing and rapid offer.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
	Context() context.Context
}

func must(t tester, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func wantSame(t tester, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Fatalf("%s differs (-want +got):\n%s", what, d)
	}
}
