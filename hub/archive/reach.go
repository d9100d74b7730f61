package archive

import (
	"sync"

	"github.com/nave-dev/nave/api"
)

// remembered is of how many logs, and of how many sources, reach keeps the number at least.
const remembered = 8_192

// reach remembers how far logs and their sources reach, so that most appends need not ask. What it says is a guess: other
// replicas write too. Whoever uses it has the database compare it ([tx.move]), and asks the database when the guess was wrong
// ([Archive.Append]). Only what was committed is put here.
type reach struct {
	mu      sync.Mutex
	logs    recent[api.SessionID] // guarded by mu
	sources recent[sourceKey]     // guarded by mu
}

type sourceKey struct {
	session api.SessionID
	source  api.Source
}

func (r *reach) log(s api.SessionID) (uint64, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.logs.get(s)
}

func (r *reach) source(s api.SessionID, source api.Source) (uint64, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sources.get(sourceKey{s, source})
}

// keep takes what a transaction knew when it was committed.
func (r *reach) keep(heads []*head) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range heads {
		r.logs.put(h.session, h.now)
		for _, s := range h.sources {
			r.sources.put(sourceKey{h.session, s.source}, s.now)
		}
	}
}

// forget drops what a transaction used that may have been committed or not.
func (r *reach) forget(heads []*head) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range heads {
		r.logs.drop(h.session)
		for _, s := range h.sources {
			r.sources.drop(sourceKey{h.session, s.source})
		}
	}
}

// recent keeps the numbers of the keys that were put last: of remembered keys at least, and of twice as many at most.
type recent[K comparable] struct {
	young, old map[K]uint64
}

func (r *recent[K]) get(k K) (uint64, bool) {
	n, ok := r.young[k]
	if !ok {
		n, ok = r.old[k]
	}
	return n, ok
}

func (r *recent[K]) put(k K, n uint64) {
	if _, ok := r.young[k]; !ok && len(r.young) >= remembered {
		r.young, r.old = nil, r.young
	}
	if r.young == nil {
		r.young = make(map[K]uint64)
	}
	r.young[k] = n
}

func (r *recent[K]) drop(k K) {
	delete(r.young, k)
	delete(r.old, k)
}
