package federation_test

import (
	"os"
	"strings"
	"testing"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/internal/federation"
)

// TestEnrollmentAndRemoval: a token admits one data directory, which needs it once; a removed cluster is out.
func TestEnrollmentAndRemoval(t *testing.T) {
	w := newWorld(t)
	w.up("one")
	for _, c := range []struct {
		name string
		test func(*world)
	}{
		{"used token", usedToken},
		{"damaged tokens", damagedTokens},
		{"restart without a token", restartWithoutToken},
		{"removed cluster", removedCluster},
		{"interrupted", interrupted},
	} {
		if !t.Run(c.name, func(t *testing.T) { c.test(w.at(t)) }) {
			return
		}
	}
}

// outsider runs a spoke with its own data directory that is to end with exit code 1.
func (w *world) outsider(dir string, token string, want ...string) {
	w.t.Helper()
	w.must(os.WriteFile(w.Path(dir+".token"), []byte(token), 0o600))
	p, err := w.StartSpoke(dir, small...)
	w.must(err)
	if code := exited(p.Wait(w.within())); code != 1 {
		w.t.Errorf("exit code %d, want 1:\n%s", code, p.Output())
	}
	for _, text := range append(want, "nave-spoke: ") {
		if !strings.Contains(p.Output(), text) {
			w.t.Errorf("the spoke does not say %q:\n%s", text, p.Output())
		}
	}
	if strings.Contains(p.Output(), token) && len(token) > 20 {
		w.t.Errorf("the spoke printed its token:\n%s", p.Output())
	}
	if there(w.Path(dir, "membership.json")) {
		w.t.Error("the spoke believes to be a member")
	}
}

func (w *world) token(name string) string {
	w.t.Helper()
	b, err := os.ReadFile(w.Path(name + ".token"))
	w.must(err)
	return strings.TrimSpace(string(b))
}

func usedToken(w *world) {
	w.outsider("thief", w.token("one"), "join_token")
	w.live("one") // the rightful one is not disturbed
}

func damagedTokens(w *world) {
	good := w.token("one")
	w.outsider("cut", good[:len(good)-20], "join_token", "cut off")
	w.outsider("garbled", good[:30]+flip(good[30])+good[31:], "join_token", "mistyped")
	w.outsider("else", "hello", "join_token", "is not a join token")
	w.outsider("empty", "", "empty")
	// One of a cluster that is not registered any more is as good as an unknown one.
	w.must(w.Join(w.within(), "short"))
	_, err := w.client.Clusters.Delete(w.within(), &navev1.DeleteRequest{Name: "short"})
	w.must(err)
	w.outsider("late", w.token("short"), "join_token")
}

func flip(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

func restartWithoutToken(w *world) {
	old := w.spokes["one"]
	w.must(old.End(w.within()))
	w.must(os.Remove(w.Path("one.token")))
	p, err := w.Start("one", "nave-spoke", append([]string{"run", "--data-dir", w.Path("one")}, small...)...)
	w.must(err)
	w.spokes["one"] = p
	w.must(p.Follow(w.within(), "connected to the hub", new(strings.Builder)))
	w.live("one")
	a := w.signal("restart", "", task{Say: "after the restart"})
	w.phase(a.GetSessionId(), api.PhaseDormant)
}

// removedCluster deletes a cluster while its spoke runs: the link is cut and does not come back, not even with a new start.
func removedCluster(w *world) {
	w.must(w.Join(w.within(), "gone"))
	w.upSpoke("gone", small...)
	w.live("gone")
	spoke := w.spokes["gone"]
	r := w.begin("removed", 1, task{})
	name := w.session(r.session).GetCluster()
	w.await("the hub counts the session", func() (bool, error) {
		c, err := w.client.Clusters.Get(w.within(), &navev1.GetRequest{Name: name})
		return c.GetStatus().GetSessions() == 1, err
	})
	if _, err := w.client.Clusters.Delete(w.within(), &navev1.DeleteRequest{Name: name}); api.CodeOf(err) != api.CodeInUse {
		w.t.Errorf("removal of a cluster with a session: %v, want CodeInUse", err)
	}
	r.step(1)
	r.sleeps("[1] done")
	w.await("no session is counted", func() (bool, error) {
		c, err := w.client.Clusters.Get(w.within(), &navev1.GetRequest{Name: "gone"})
		return c.GetStatus().GetSessions() == 0, err
	})
	_, err := w.Nave(w.within(), "clusters", "delete", "gone")
	w.must(err)
	w.must(spoke.Follow(w.within(), "does not take this spoke any more", new(strings.Builder)))
	_, err = w.client.Clusters.Get(w.within(), &navev1.GetRequest{Name: "gone"})
	if api.CodeOf(err) != api.CodeNotFound {
		w.t.Errorf("the cluster after its removal: %v, want CodeNotFound", err)
	}
	// Two attempts and more are refused.
	w.await("the spoke tries again", func() (bool, error) { return strings.Count(spoke.Output(), "link lost") >= 3, nil })
	if n := strings.Count(spoke.Output(), "connected to the hub"); n != 1 {
		w.t.Errorf("the spoke was connected %d times, want once:\n%s", n, spoke.Output())
	}
	lines := strings.Split(spoke.Output()[strings.LastIndex(spoke.Output(), "link lost"):], "\n")
	w.t.Logf("the removed spoke says: %s", lines[0])
	w.must(spoke.End(w.within()))
	again, err := w.StartSpoke("gone", small...)
	w.must(err)
	err = federation.Await(w.within(), "the spoke is refused", func() (bool, error) {
		return !again.Running() || strings.Count(again.Output(), "link lost") >= 2, nil
	})
	w.must(err)
	if strings.Contains(again.Output(), "connected to the hub") {
		w.t.Errorf("the removed spoke is connected again:\n%s", again.Output())
	}
	if again.Running() {
		w.must(again.End(w.within()))
	}
	w.live("one")
}
