package linktest

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
)

// everyBeat is what hubs ask for.
const everyBeat = 2 * time.Second

// clocked makes a spoke whose boot-time clock is the bubble's time since now.
func clocked(t *testing.T, n Network) (*spoke, func() time.Duration) {
	began := time.Now()
	now := func() time.Duration { return time.Since(began) }
	return newSpokeAt(t, n, now), now
}

// drain empties a channel and returns the last value.
func drain[T any](ch <-chan T) (last T, n int) {
	for {
		select {
		case last = <-ch:
			n++
		default:
			return last, n
		}
	}
}

// testHiccup: a network that is away for less than three seconds costs a beat or two and not the link.
func testHiccup(t *testing.T, n Network) {
	h := serve(t, n, &hub{beat: everyBeat})
	s, now := clocked(t, n)
	s.dial()
	a := h.link()
	next(t, "welcome", s.welcome)
	for _, cut := range []func(){n.Faults.CutUp, n.Faults.CutDown, func() { n.Faults.CutUp(); n.Faults.CutDown() }} {
		time.Sleep(time.Minute)
		cut()
		time.Sleep(2900 * time.Millisecond)
		n.Faults.Heal()
		healed := now()
		synctest.Wait()
		if last, _ := drain(s.renewed); last > healed {
			t.Fatalf("renewed from %v, later than now", last)
		}
		if sent := next(t, "an answered beat", s.renewed); sent > healed+everyBeat {
			t.Errorf("the first answered beat was sent %v after the healing", sent-healed)
		}
	}
	must(t, "send", s.link.Send(api.SpokeMessage{Held: []api.Held{{Session: "s", State: api.HeldRunning}}}))
	next(t, "a message on the same link", a.in)
	if len(s.ends) > 0 {
		t.Errorf("the link ended: %v", next(t, "the end", s.ends))
	}
}

// testCutUp: the hub does not hear its spoke any more.
func testCutUp(t *testing.T, n Network) {
	cutOneWay(t, n, n.Faults.CutUp)
}

// testCutDown: the hub hears its spoke, which does not hear it. A beat that arrives there and whose answer does not come
// back gives no right to act.
func testCutDown(t *testing.T, n Network) {
	cutOneWay(t, n, n.Faults.CutDown)
}

func cutOneWay(t *testing.T, n Network, cut func()) {
	h := serve(t, n, &hub{beat: everyBeat})
	s, now := clocked(t, n)
	s.dial()
	a := h.link()
	next(t, "welcome", s.welcome)
	time.Sleep(time.Minute)
	synctest.Wait()
	drain(s.renewed)
	cut()
	from := now()
	e := next(t, "the end at the spoke", s.ends)
	if took := now() - from; !e.welcomed || api.CodeOf(e.err) != api.CodeUnavailable || took < 2*time.Second || took > 5*time.Second {
		t.Errorf("the spoke gave the link up after %v: %v", took, e.err)
	}
	next(t, "the end at the hub", a.closed)
	if took := now() - from; took > 20*time.Second {
		t.Errorf("the hub noticed after %v", took)
	}
	time.Sleep(time.Hour)
	synctest.Wait()
	if _, k := drain(s.renewed); k > 0 {
		t.Errorf("%d beats were renewed over a cut", k)
	}
	drain(s.ends)
	n.Faults.Heal()
	healed := now()
	next(t, "welcome", s.welcome)
	if took := now() - healed; took > 12*time.Second {
		t.Errorf("back after %v", took)
	}
	if sent := next(t, "an answered beat", s.renewed); sent < healed {
		t.Errorf("a beat that was sent over a cut was renewed")
	}
}

// testHubAway: nobody listens for an hour.
func testHubAway(t *testing.T, n Network) {
	h := serve(t, n, &hub{beat: everyBeat})
	s, now := clocked(t, n)
	s.dial()
	h.link()
	next(t, "welcome", s.welcome)
	synctest.Wait()
	drain(s.renewed)
	h.stop()
	before := s.dials.Load()
	for range 60 {
		time.Sleep(time.Minute)
		drain(s.ends)
	}
	// A pause is five seconds on average. Fewer dials: it is not back in time. More: a fleet is a storm.
	if dials := s.dials.Load() - before; dials < 400 || dials > 1200 {
		t.Errorf("%d dials in an hour", dials)
	}
	if _, k := drain(s.renewed); k > 0 {
		t.Errorf("%d beats were renewed without a hub", k)
	}
	back := now()
	serve(t, n, &hub{beat: everyBeat}).link()
	next(t, "welcome", s.welcome)
	if took := now() - back; took > 10*time.Second+100*time.Millisecond {
		t.Errorf("back after %v", took)
	}
}

// testSaveOverACut: an upload ends with the link that is given up, not with a connection that nobody hears of.
func testSaveOverACut(t *testing.T, n Network) {
	began := make(chan struct{}, 1)
	h := serve(t, n, &hub{beat: everyBeat, save: func(_ context.Context, _ api.CheckpointHeader, r io.Reader) error {
		began <- struct{}{}
		_, err := io.Copy(io.Discard, r)
		return err
	}})
	s, now := clocked(t, n)
	s.dial()
	h.link()
	next(t, "welcome", s.welcome)
	header, content := checkpoint(100, 100)
	header.Pack = 1 << 30
	ended := make(chan error, 1)
	g := run.NewGroup(t.Context())
	g.Go("save", func(ctx context.Context) error {
		ended <- s.link.SaveCheckpoint(ctx, header, io.MultiReader(bytes.NewReader(content), rand.NewChaCha8([32]byte{})))
		return nil
	})
	next(t, "the upload's beginning", began)
	n.Faults.CutUp()
	n.Faults.CutDown()
	from := now()
	if err := next(t, "the end of the upload", ended); api.CodeOf(err) != api.CodeUnavailable || !strings.Contains(err.Error(), "the link ended") {
		t.Errorf("ended with %v", err)
	}
	if took := now() - from; took > 6*time.Second {
		t.Errorf("ended after %v", took)
	}
	must(t, "save task", g.Wait())
	next(t, "the end of the link", s.ends)
	if took := now() - from; took > 6*time.Second { // an end in order would wait for the peer
		t.Errorf("free for the next link after %v", took)
	}
	n.Faults.Heal()
}

// testDenied: a spoke that nobody knows any more is told so, and asks again slowly.
func testDenied(t *testing.T, n Network) {
	const sentence = "identity x belongs to no cluster"
	var known atomic.Bool
	known.Store(true)
	h := serve(t, n, &hub{beat: everyBeat, attach: func(string, api.Hello) error {
		if !known.Load() {
			return api.Errorf(api.CodeDenied, sentence)
		}
		return nil
	}})
	dial, byNetwork := n.Dial, atomic.Bool{}
	n.Dial = func(ctx context.Context) (net.Conn, error) {
		if byNetwork.Load() {
			return nil, api.Errorf(api.CodeDenied, sentence)
		}
		return dial(ctx)
	}
	s, _ := clocked(t, n)
	s.dial()
	a := h.link()
	next(t, "welcome", s.welcome)
	known.Store(false)
	a.endNow <- api.Errorf(api.CodeDenied, "the cluster was removed")
	if e := next(t, "the end", s.ends); !e.welcomed || api.CodeOf(e.err) != api.CodeDenied {
		t.Errorf("ended with %v", e.err)
	}
	for _, by := range []string{"the hub", "the network"} {
		byNetwork.Store(by == "the network")
		time.Sleep(2 * time.Minute)
		drain(s.ends)
		before := s.dials.Load()
		time.Sleep(time.Hour)
		if dials := s.dials.Load() - before; dials < 60 || dials > 200 { // every half a minute on average
			t.Errorf("denied by %s, %d dials in an hour", by, dials)
		}
		if e, k := drain(s.ends); k == 0 || e.welcomed || api.CodeOf(e.err) != api.CodeDenied || !strings.Contains(e.err.Error(), sentence) {
			t.Errorf("denied by %s: ended with %v (%s)", by, e.err, api.CodeOf(e.err))
		}
	}
	byNetwork.Store(false)
	known.Store(true)
	time.Sleep(61 * time.Second)
	next(t, "welcome", s.welcome)
}

// testSlowHub: a hub that takes nothing holds its spoke back, within bounds, and goes on answering beats.
func testSlowHub(t *testing.T, n Network) {
	goOn := make(chan struct{})
	h := &hub{beat: everyBeat}
	h.take = func(ctx context.Context, _ api.SpokeMessage) error {
		select {
		case <-goOn:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	serve(t, n, h)
	s, now := clocked(t, n)
	s.dial()
	h.link()
	next(t, "welcome", s.welcome)
	message := api.SpokeMessage{Events: []api.EventBatch{{Session: "s", Events: []api.Event{{SourceNumber: 1, Type: "log", Text: string(make([]byte, 60<<10))}}}}}
	taken := 0
	for range 3600 {
		for s.link.Send(message) == nil {
			taken++
		}
		time.Sleep(time.Second)
	}
	// The queue, and what fits into windows and buffers.
	if taken < 1024 || taken > 1024+64 {
		t.Errorf("%d messages were taken from a spoke whose hub takes none", taken)
	}
	if err := s.link.Send(message); api.CodeOf(err) != api.CodeLimit {
		t.Errorf("send: %v", err)
	}
	synctest.Wait()
	drain(s.renewed)
	if sent := next(t, "an answered beat", s.renewed); sent < now()-everyBeat {
		t.Errorf("the last answered beat was sent %v ago", now()-sent)
	}
	if len(s.ends) > 0 {
		t.Errorf("the link ended: %v", next(t, "the end", s.ends))
	}
	close(goOn)
	time.Sleep(time.Minute)
	must(t, "send when the hub goes on", s.link.Send(message))
}

// testRough: connections break again and again. On each one messages arrive in order and without a gap, from its first on.
func testRough(t *testing.T, n Network) {
	h := serve(t, n, &hub{beat: everyBeat})
	n.Faults.Rough(20 * time.Second)
	s, now := clocked(t, n)
	s.dial()
	sent, got, links := uint64(0), 0, 0
	var a *attachment
	last, renewed := uint64(0), time.Duration(0)
	for end := now() + time.Hour; now() < end; {
		if s.link.Send(api.SpokeMessage{Held: []api.Held{{Session: "s", State: api.HeldRunning, Seen: sent + 1}}}) == nil {
			sent++
		}
		time.Sleep(50 * time.Millisecond)
		drain(s.ends)
		drain(s.welcome)
		for {
			select {
			case at := <-s.renewed:
				if at <= renewed || at > now() {
					t.Fatalf("renewed from %v after %v at %v", at, renewed, now())
				}
				renewed = at
				continue
			case a = <-h.links:
				links++
				last = 0
				continue
			default:
			}
			break
		}
		for a != nil && len(a.in) > 0 {
			m := <-a.in
			seen := m.Held[0].Seen
			if last != 0 && seen != last+1 {
				t.Fatalf("%d came after %d on one link", seen, last)
			}
			last = seen
			got++
		}
	}
	t.Logf("%d links, %d of %d messages arrived", links, got, sent)
	if links < 60 || got < int(sent)/2 {
		t.Errorf("%d links, %d of %d messages arrived", links, got, sent)
	}
	n.Faults.Rough(0)
	n.Faults.Break()
	for time.Sleep(time.Minute); len(h.links) > 0; {
		a = <-h.links
	}
	if synctest.Wait(); a.in == nil || now()-renewed > 2*time.Minute {
		t.Errorf("no link after the last break")
	}
}
