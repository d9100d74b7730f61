package harness

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// clock is set by hand.
type clock struct{ at time.Duration }

func (c *clock) now() time.Duration { return c.at }

func newTestLease() (*lease, *clock) {
	c := &clock{at: time.Hour}
	return newLease(c.now, 2*time.Second, func() {}), c
}

// pass lets time pass as it does when the lease is looked at all the while.
func (c *clock) pass(l *lease, d time.Duration) {
	for end := c.at + d; c.at < end; {
		c.at = min(end, c.at+leaseTick)
		l.look()
	}
}

func TestLeaseCountsFromTheRequest(t *testing.T) {
	l, c := newTestLease()
	if r := l.look(); r.held || r.why == "" {
		t.Fatalf("before an answer: %+v", r)
	}
	n := l.ask()
	c.pass(l, 3*time.Second) // on the way
	l.answer(n, 16*time.Second, false)
	began := l.look()
	if !began.held {
		t.Fatalf("after an answer: %+v", began)
	}
	c.pass(l, 10999*time.Millisecond) // 2 s before the end, which is 13 s away
	if r := l.look(); !r.held || r.next != time.Millisecond {
		t.Fatalf("1ms before the agent is to end: %+v", r)
	}
	c.pass(l, time.Millisecond)
	r := l.look()
	if r.held || r.lapses == began.lapses || r.killAt-r.now != time.Second {
		t.Fatalf("2s before the end: %+v, want it lapsed, and what is left killed 1s before the end", r)
	}
	l.answer(l.ask(), time.Minute, false)
	if r := l.look(); !r.held || r.lapses == began.lapses {
		t.Fatalf("after the renewal: %+v, want the right and what was before over", r)
	}
}

// A short lease leaves the agent an eighth of it to end, so that a lease of the least stop_after rides out what it should.
func TestShortLease(t *testing.T) {
	l, c := newTestLease()
	l.answer(l.ask(), 7*time.Second, false)
	c.pass(l, 6124*time.Millisecond)
	if !l.look().held {
		t.Fatal("it lapsed more than 875ms before the end")
	}
	c.pass(l, time.Millisecond)
	if r := l.look(); r.held || r.killAt != time.Hour+7*time.Second-875*time.Millisecond/2 {
		t.Fatalf("%+v", r)
	}
}

// What began before a lapse is over, also when the right was renewed before anybody saw that.
func TestWhatBeganBeforeALapseIsCut(t *testing.T) {
	h := newTestHarness(t)
	old, fresh := task{kind: taskTurn, lapses: 1}, task{kind: taskTurn, lapses: 2}
	now := right{held: true, lapses: 2, why: "it lapsed"}
	for _, tt := range []struct {
		right right
		task  task
		want  string
	}{{now, old, "it lapsed"}, {now, fresh, ""}, {now, task{}, ""}, {right{lapses: 2, why: "it lapsed"}, fresh, "it lapsed"}, {right{why: "none yet"}, task{}, "none yet"}} {
		if got := h.facts(t.Context(), tt.right, tt.task).lapsed; got != tt.want {
			t.Errorf("%+v, %+v: lapsed %q, want %q", tt.right, tt.task, got, tt.want)
		}
	}
}

func TestLeaseAnswers(t *testing.T) {
	l, c := newTestLease()
	first, second := l.ask(), l.ask()
	l.answer(second, time.Minute, false)
	l.answer(first, 0, false) // overtaken
	l.answer(99, 0, false)    // never asked
	if !l.look().held {
		t.Fatal("an answer that is not awaited took the right away")
	}
	late := l.ask()
	l.detached()
	c.pass(l, time.Second)
	l.answer(late, time.Hour, true)
	c.pass(l, time.Minute)
	if l.look().held {
		t.Fatal("an answer of a connection that has ended was taken")
	}
	if p := l.pause(); p != askPoor {
		t.Errorf("without a right it asks again after %v", p)
	}
	for range 10 {
		l.answer(l.ask(), -time.Second, false)
	}
	if p := l.pause(); p != askEvery {
		t.Errorf("after ten answers without a right it asks again after %v", p)
	}
	l.answer(l.ask(), 4*time.Second, false)
	if p := l.pause(); p != time.Second {
		t.Errorf("with a lease of 4s it asks again after %v", p)
	}
	before := l.look()
	l.answer(l.ask(), 0, false)
	if r := l.look(); r.held || r.lapses == before.lapses || r.killAt > r.now {
		t.Errorf("after the right was taken away: %+v", r)
	}
	l.answer(l.ask(), 0, true)
	c.at += 1000 * time.Hour // nobody looked: a right without an end has none
	if !l.look().held {
		t.Error("a lease without an end has ended")
	}
	for range 100 {
		l.ask()
	}
	if len(l.sent) > askHeld {
		t.Errorf("%d requests are held", len(l.sent))
	}
}

// Whoever stood still trusts nothing of before: neither the lease, nor what was asked then.
func TestStandstill(t *testing.T) {
	l, c := newTestLease()
	l.answer(l.ask(), time.Hour, false)
	before := l.look()
	c.at += leaseJump
	if r := l.look(); !r.held {
		t.Fatalf("after %v: %+v", leaseJump, r)
	}
	asked := l.ask()
	c.at += leaseJump + 1
	l.answer(asked, time.Hour, false)
	r := l.look()
	if r.held || r.lapses == before.lapses || r.killAt > r.now {
		t.Fatalf("after a standstill: %+v, want it lapsed and everything killed at once", r)
	}
	l.answer(l.ask(), time.Hour, false)
	if r := l.look(); !r.held || r.lapses == before.lapses {
		t.Fatalf("after the renewal: %+v", r)
	}
}

// However answers are delayed, lost or overtaken, and however long nobody looks: there is no right when the spoke's word has
// run out, and what began before such a time is over for good.
func TestLeaseNeverOutlivesTheSpokesWord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, c := newTestLease()
		type answer struct {
			number uint64
			left   time.Duration
			until  time.Duration
		}
		var (
			asked   []uint64
			flying  []answer
			until   = c.at             // the spoke's word
			told    = time.Duration(0) // the highest word that was on an answer that arrived
			began   right              // of the task that runs
			running bool
			crossed bool // there was a time without a right since then
		)
		duration := func(name string, most time.Duration) time.Duration {
			return time.Duration(rapid.Int64Range(0, int64(most)).Draw(t, name))
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"pass", "freeze", "prolong", "ask", "send", "arrive", "lose", "reconnect", "begin"}).Draw(t, "what") {
			case "pass":
				d := duration("passed", 10*time.Second)
				crossed = crossed || c.at+d >= told
				c.pass(l, d)
			case "freeze":
				d := duration("frozen", 20*time.Second)
				crossed = crossed || c.at+d >= told || d > leaseJump
				c.at += d
			case "prolong":
				until = max(until, c.at+duration("prolonged", 30*time.Second))
			case "ask":
				asked = append(asked, l.ask())
			case "send":
				if len(asked) > 0 {
					flying = append(flying, answer{asked[0], until - c.at, until})
					asked = asked[1:]
				}
			case "arrive":
				if len(flying) > 0 {
					i := rapid.IntRange(0, len(flying)-1).Draw(t, "which")
					l.answer(flying[i].number, flying[i].left, false)
					told = max(told, flying[i].until)
					flying = append(flying[:i], flying[i+1:]...)
				}
			case "lose":
				flying = nil
			case "reconnect":
				l.detached()
				asked, flying = nil, nil
			case "begin":
				if r := l.look(); r.held && !running {
					began, running, crossed = r, true, false
				}
			}
			r := l.look()
			if r.held && c.at >= told {
				t.Fatalf("it may act at %v, the spoke's word was %v", c.at, told)
			}
			if r.next <= 0 || r.next > leaseTick {
				t.Fatalf("it looks again after %v", r.next)
			}
			if running && crossed && r.lapses == began.lapses {
				t.Fatalf("the task of before goes on at %v, the spoke's word was %v", c.at, told)
			}
			if r.lapses != began.lapses {
				running = false
			}
			if !r.held && r.lapses > 0 && r.killAt > max(told, r.now) {
				t.Fatalf("what is left is killed at %v, the spoke's word was %v", r.killAt, told)
			}
		}
	})
}
