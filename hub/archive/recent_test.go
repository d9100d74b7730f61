package archive

import (
	"fmt"
	"testing"

	"github.com/nave-dev/nave/api"
)

// TestMemoryIsBounded: what was put last is there, what was dropped is not, and no more is kept than twice the bound.
func TestMemoryIsBounded(t *testing.T) {
	var r reach
	spoke := api.Source{Epoch: api.Epoch{Incarnation: 1, N: 1}, Attempt: 1}
	id := func(n int) api.SessionID { return api.SessionID(fmt.Sprint(n)) }
	put := func(n int, now uint64) *head {
		h := &head{session: id(n), now: now, sources: []*sourceHead{{source: spoke, now: now}}}
		r.keep([]*head{h})
		return h
	}
	for n := range 5 * remembered {
		put(n, 1)
		put(n, 2)
		if kept := len(r.logs.young) + len(r.logs.old); kept > 2*remembered {
			t.Fatalf("%d logs are kept after %d, want at most %d", kept, n, 2*remembered)
		}
		if kept := len(r.sources.young) + len(r.sources.old); kept > 2*remembered {
			t.Fatalf("%d sources are kept after %d, want at most %d", kept, n, 2*remembered)
		}
	}
	is := func(n int) (uint64, uint64) {
		log, _ := r.log(id(n))
		source, _ := r.source(id(n), spoke)
		return log, source
	}
	for n := 4 * remembered; n < 5*remembered; n++ {
		if log, source := is(n); log != 2 || source != 2 {
			t.Fatalf("log %d = %d, its source %d; want 2: it is one of the last", n, log, source)
		}
	}
	if log, source := is(0); log != 0 || source != 0 {
		t.Errorf("the first one is still there: %d, %d", log, source)
	}
	r.forget([]*head{put(5*remembered-1, 3)})
	if log, source := is(5*remembered - 1); log != 0 || source != 0 {
		t.Errorf("what was forgotten is there: %d, %d", log, source)
	}
}
