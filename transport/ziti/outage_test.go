package ziti_test

import (
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/nave-dev/nave/internal/boottime"
	"github.com/nave-dev/nave/transport/ziti"
	"github.com/nave-dev/nave/transport/ziti/local"
	"github.com/nave-dev/nave/transport/ziti/zititest"
)

// hold waits within a test for a time that is part of what is shown.
func hold(t *testing.T, d time.Duration) {
	<-zititest.Context(t, d).Done()
}

func TestLinkRidesOutTheLossOfARouter(t *testing.T) {
	n := zititest.StartConfig(t, local.Config{Grace: 5 * time.Minute})
	w := newWire(t, n)
	for _, router := range []string{"r1", "r2"} {
		awaitHosts(zititest.Context(t, time.Minute), t, n, 2)
		killed := boottime.Now()
		n.Kill(router)
		hold(t, 10*time.Second)
		s := w.since(killed)
		t.Logf("loss of %s: longest time without a message %v, without an answered beat %v, links %d, ends %v", router, s.messages, s.beats, s.links, s.ends)
		if s.beats > 5*time.Second {
			t.Errorf("loss of %s: no answered beat for %v, want at most 5s", router, s.beats)
		}
	}
	if s := w.since(0); s.links < 2 {
		t.Error("no link ended, so the loss of a carrying router was not shown")
	}
}

func TestLinkDoesNotNoticeTheLossOfTheController(t *testing.T) {
	n := zititest.StartConfig(t, local.Config{Grace: 5 * time.Minute})
	w := newWire(t, n)
	n.Unsupervise()
	killed := boottime.Now()
	n.Kill("controller")
	hold(t, 20*time.Second)
	s := w.since(killed)
	t.Logf("controller away: longest time without a message %v, without an answered beat %v, links %d", s.messages, s.beats, s.links)
	if s.links > 0 || s.messages > time.Second || s.beats > time.Second {
		t.Errorf("the link noticed the loss of the controller: %+v", s)
	}
	n.Supervise()
	hold(t, 10*time.Second)
	if s := w.since(killed); s.links > 0 || s.messages > time.Second || s.beats > time.Second {
		t.Errorf("the link noticed the return of the controller: %+v", s)
	}
}

func TestLinkComesBackAfterAnOutageOfTheOverlay(t *testing.T) {
	n := zititest.StartConfig(t, local.Config{Grace: 5 * time.Minute})
	w := newWire(t, n)
	for _, away := range []time.Duration{0, 4 * time.Second, 20 * time.Second} {
		n.Unsupervise()
		killed := boottime.Now()
		for _, name := range []string{"controller", "r1", "r2"} {
			n.Kill(name)
		}
		hold(t, away)
		n.Supervise()
		back := boottime.Now()
		w.await("an answered beat", func() bool { return w.renewed[len(w.renewed)-1] > back })
		w.mu.Lock()
		linked := w.welcomes[len(w.welcomes)-1]
		w.mu.Unlock()
		t.Logf("overlay away for %v: link back %v after it served again", (back - killed).Round(time.Millisecond), max(0, linked-back).Round(time.Millisecond))
		// A bind that had no answer is made again by the SDK after half a minute, and that one may fail too on a busy machine.
		awaitHosts(zititest.Context(t, 2*time.Minute), t, n, 2)
		t.Logf("both routers carry the service %v after they served again", (boottime.Now() - back).Round(time.Millisecond))
		hold(t, 5*time.Second)
	}
}

// A router that hangs keeps its connections and answers nothing, which is worse than a dead one.
func TestLinkTurnsAwayFromARouterThatHangs(t *testing.T) {
	n := zititest.StartConfig(t, local.Config{Grace: 5 * time.Minute})
	w := newWire(t, n)
	n.Unsupervise() // who would restart it
	for _, router := range []string{"r1", "r2"} {
		awaitHosts(zititest.Context(t, time.Minute), t, n, 2)
		stopped := boottime.Now()
		n.Signal(router, syscall.SIGSTOP)
		hold(t, 15*time.Second)
		n.Signal(router, syscall.SIGCONT)
		s := w.since(stopped)
		t.Logf("%s hangs: longest time without an answered beat %v, links %d, sessions of the spoke %d", router, s.beats, s.links, w.spoke.Sessions())
		if s.beats > 12*time.Second {
			t.Errorf("%s hangs: no answered beat for %v", router, s.beats)
		}
		hold(t, 5*time.Second)
	}
	if s := w.since(0); s.links < 2 {
		t.Error("no link ended, so a carrying router that hangs was not shown")
	}
	w.stop()
	w.await("the sessions that were left are closed", func() bool { return w.spoke.Sessions() == 1 })
}

func TestHostingThatEndedBeginsAnew(t *testing.T) {
	n := zititest.Start(t)
	hub, spoke := n.Node("hub-1", ziti.RoleHub), n.Node("spoke-1", ziti.RoleSpoke)
	l, err := hub.Listen(zititest.Context(t, time.Minute), ziti.HubService)
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, l, ziti.ServerCredentials(hub))
	if err := ziti.EndHosting(l); err != nil {
		t.Fatal(err)
	}
	client := dial(t, spoke, ziti.ClientCredentials(spoke, ziti.AllowIDs(hub.ID())))
	if _, err := client.Check(zititest.Context(t, 30*time.Second), request, grpc.WaitForReady(true)); err != nil {
		t.Errorf("a call after the hosting ended: %v", err)
	}
}
