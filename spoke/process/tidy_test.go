package process_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke/process"
)

// oracle is the hub's word on what became of sessions.
type oracle struct {
	mu    sync.Mutex
	word  api.Fates
	while func() // happens while the question is under way
	err   error
	asked map[api.SessionID]int
}

func (o *oracle) fates(_ context.Context, ids []api.SessionID) (api.Fates, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, id := range ids {
		o.asked[id]++
	}
	if o.while != nil {
		o.while()
	}
	return o.word, o.err
}

func (o *oracle) times(id api.SessionID) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.asked[id]
}

func (o *oracle) say(err error, word api.Fates) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.word, o.err = word, err
	clear(o.asked)
}

// TestOnlyTheHubsWordRemovesState: silence, an error and an empty answer remove nothing; neither does a word about a session
// that was not asked about because a workload of it is there, or of which one came while the hub was asked.
func TestOnlyTheHubsWordRemovesState(t *testing.T) {
	for name, word := range map[string]func(...api.SessionID) api.Fates{
		"ended": func(ids ...api.SessionID) api.Fates { return api.Fates{Ended: ids} },
		"moved": func(ids ...api.SessionID) api.Fates { return api.Fates{Moved: ids} },
	} {
		t.Run(name, func(t *testing.T) { testWord(t, word) })
	}
}

func testWord(t *testing.T, word func(...api.SessionID) api.Fates) {
	o := &oracle{asked: map[api.SessionID]int{}}
	_, c := newRuntime(t)
	c.Fates, c.TidyEvery = o.fates, 10*time.Millisecond
	rt, err := process.New(c)
	if err != nil {
		t.Fatal(err)
	}
	const over, rests, works, last api.SessionID = "01M83YE7WA753Z83HCBG9AVWHM", "01M83YE7WA753Z83HCBG9AVWHN", "01M83YE7WA753Z83HCBG9AVWHP", "01M83YE7WA753Z83HCBG9AVWHQ"
	path := func(name string) string { return filepath.Join(c.Dir, "sessions", name) }
	state := func(id api.SessionID) string { return path(strings.ToLower(string(id))) }
	for _, dir := range []string{state(over), state(rests), state(works), state(last), path("foreign"), path(".01m83ye7wa753z83hcbg9avwhr"),
		filepath.Join(c.Dir, "workloads", strings.ToLower(string(works))+"-1-1-1")} {
		if err := os.MkdirAll(filepath.Join(dir, "home", "deep"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(state(over), "home"), 0o500); err != nil { // what an agent may leave
		t.Fatal(err)
	}
	g := run.NewGroup(t.Context())
	g.Go("tidy", rt.Tidy)
	defer func() {
		g.Stop()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	}()
	await := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !ok(); {
			if time.Now().After(deadline) {
				t.Fatal("never: " + what)
			}
			<-time.After(time.Millisecond)
		}
	}
	there := func(want ...string) {
		t.Helper()
		await("no removal under way", func() bool { hidden, err := filepath.Glob(path(".*")); return err == nil && len(hidden) == 0 })
		entries, err := os.ReadDir(path(""))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			got = append(got, e.Name())
		}
		if !slices.Equal(got, want) {
			t.Errorf("states: %v, want %v", got, want)
		}
	}
	lower := func(ids ...api.SessionID) (out []string) {
		for _, id := range ids {
			out = append(out, strings.ToLower(string(id)))
		}
		return append(out, "foreign")
	}
	await("an empty answer", func() bool { return o.times(over) > 2 })
	there(lower(over, rests, works, last)...) // but the removal that was cut off is done
	o.say(errors.New("nobody knows"), word(over, rests))
	await("an error", func() bool { return o.times(over) > 2 })
	there(lower(over, rests, works, last)...)
	o.say(nil, word(over, works))
	await("asked about what rests", func() bool { return o.times(rests) > 2 })
	if o.times(works) > 0 {
		t.Error("asked about a session that has a workload")
	}
	there(lower(rests, works, last)...)
	if err := os.RemoveAll(filepath.Join(c.Dir, "workloads", strings.ToLower(string(works))+"-1-1-1")); err != nil {
		t.Fatal(err)
	}
	await("gone when its workload is", func() bool { _, err := os.Stat(state(works)); return errors.Is(err, os.ErrNotExist) })
	there(lower(rests, last)...)

	came := filepath.Join(c.Dir, "workloads", strings.ToLower(string(last))+"-1-2-1")
	o.say(nil, api.Fates{})
	await("nothing is named any more", func() bool { return o.times(last) > 2 })
	o.mu.Lock()
	o.word, o.while = word(last), func() {
		if err := os.MkdirAll(came, 0o700); err != nil {
			t.Error(err)
		}
	}
	clear(o.asked)
	o.mu.Unlock()
	await("asked when the workload is there", func() bool { return o.times(rests) > o.times(last)+2 })
	there(lower(rests, last)...)
}
