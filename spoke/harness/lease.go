package harness

import (
	"fmt"
	"sync"
	"time"
)

// Times of the lease, by the boot-time clock.
const (
	leaseTick  = 500 * time.Millisecond // how often it is looked at while the agent acts
	leaseJump  = 5 * time.Second        // between two looks: the process was frozen or the machine slept
	askEvery   = 2 * time.Second        // at the latest
	askPoor    = 200 * time.Millisecond // after an answer that gave no right; twice as long after each further one
	askHeld    = 8                      // requests that may await an answer; older ones are forgotten
	leaseShare = 8                      // the agent's time to end is at most this part of the longest lease
)

// lease is the right to act, as the harness knows it. It counts from when a request was sent, so that no delay of the
// answer prolongs it. Every method first looks whether the right has ended meanwhile: then it counts a lapse, and whatever
// began before that is over, whether a later answer renews the right or not.
type lease struct {
	now      func() time.Duration // boot-time clock
	patience time.Duration        // that an agent has to end by itself, at most

	mu       sync.Mutex
	number   uint64                   // of the last request; guarded by mu
	sent     map[uint64]time.Duration // requests that await an answer; guarded by mu
	held     bool                     // it may act; guarded by mu
	forever  bool                     // without an end; guarded by mu
	deadline time.Duration            // by when the agent must have ended; guarded by mu
	length   time.Duration            // of the last answer; guarded by mu
	longest  time.Duration            // of all answers; guarded by mu
	poor     int                      // answers in a row without a right; guarded by mu
	lapses   uint64                   // how often the right ended; guarded by mu
	why      string                   // the right ended last, or was not there yet; guarded by mu
	killAt   time.Duration            // of the last lapse: then what still runs is killed; guarded by mu
	looked   time.Duration            // the last look; guarded by mu

	changed func() // called, without mu, when an answer changed what may be done
}

func newLease(now func() time.Duration, patience time.Duration, changed func()) *lease {
	return &lease{now: now, patience: patience, sent: make(map[uint64]time.Duration), why: "there is no lease of the spoke yet", looked: now(), changed: changed}
}

// right is what may be done now.
type right struct {
	held   bool
	why    string        // it ended last, or is not there yet
	lapses uint64        // a task that began at another number is over
	killAt time.Duration // by the lease's clock: a task that is over and still runs is killed
	now    time.Duration
	next   time.Duration // look again after so long
}

// look says what may be done now.
func (l *lease) look() right {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.observeLocked()
	r := right{held: l.held, why: l.why, lapses: l.lapses, killAt: l.killAt, now: now, next: leaseTick}
	if end := l.deadline - l.graceLocked() - now; l.held && !l.forever {
		r.next = min(r.next, max(end, time.Millisecond))
	}
	if r.killAt > now {
		r.next = min(r.next, r.killAt-now)
	}
	return r
}

// ask begins a request: it is to be sent after this, not before.
func (l *lease) ask() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.observeLocked()
	l.number++
	l.sent[l.number] = now
	if l.number > askHeld {
		delete(l.sent, l.number-askHeld)
	}
	return l.number
}

// pause is how long to wait before the next request.
func (l *lease) pause() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.observeLocked()
	switch {
	case l.held && l.forever:
		return askEvery
	case l.held:
		return max(min(askEvery, l.length/4), 50*time.Millisecond)
	default:
		return min(askEvery, askPoor<<min(l.poor, 8))
	}
}

// detached forgets the requests of a connection that has ended: they are not answered any more.
func (l *lease) detached() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.sent)
	l.poor = 0
}

// answer takes the answer to a request. One that is not awaited is left alone.
func (l *lease) answer(number uint64, length time.Duration, forever bool) {
	l.mu.Lock()
	now := l.observeLocked()
	sent, awaited := l.sent[number]
	if !awaited {
		l.mu.Unlock()
		return
	}
	for n := range l.sent {
		if n <= number { // what was asked earlier is overtaken
			delete(l.sent, n)
		}
	}
	had := l.held
	l.forever, l.length, l.deadline = forever, length, sent+max(length, 0)
	l.longest = max(l.longest, length)
	if forever || l.deadline-l.graceLocked() > now {
		l.held, l.poor = true, 0
	} else {
		l.lapseLocked("the spoke gives no lease any more", l.deadline-l.graceLocked()/2)
		l.poor++
	}
	news := had != l.held
	l.mu.Unlock()
	if news {
		l.changed()
	}
}

// observeLocked ends the right when its time has come, or when nobody looked for so long that time cannot be trusted.
func (l *lease) observeLocked() time.Duration {
	now := l.now()
	still := now - l.looked
	l.looked = now
	switch grace := l.graceLocked(); {
	case !l.held || l.forever:
	case still > leaseJump:
		clear(l.sent) // what was asked before may be answered by a spoke that stood still as well
		l.lapseLocked(fmt.Sprintf("the harness stood still for %v", still.Round(time.Second)), now)
	case now >= l.deadline-grace:
		l.lapseLocked("the lease of the spoke ran out", l.deadline-grace/2)
	}
	return now
}

// lapseLocked ends the right, if it is held.
func (l *lease) lapseLocked(why string, killAt time.Duration) {
	if !l.held {
		return
	}
	l.held, l.why, l.killAt = false, why, killAt
	l.lapses++
}

// graceLocked is how long before the deadline the agent is asked to end. The second half of it is for killing what does
// not: SIGKILL, and the children that are left, on a machine that may be busy.
func (l *lease) graceLocked() time.Duration {
	return min(l.patience, l.longest/leaseShare)
}
