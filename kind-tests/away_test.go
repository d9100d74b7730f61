//go:build kindtests

package kindtests

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/nave-dev/nave/internal/testcluster"
)

// throughGate writes an access to a cluster that goes through a gate.
func (w *federated) throughGate(c *testcluster.Cluster) (*gate, string) {
	w.t.Helper()
	config, err := clientcmd.LoadFromFile(c.Kubeconfig)
	w.must(err)
	at := config.Clusters[config.Contexts[config.CurrentContext].Cluster]
	g, through := newGate(w.t, c.Rest)
	at.Server, at.TLSServerName = through.Host, through.ServerName
	file := w.Path(c.Name + ".kubeconfig")
	w.must(clientcmd.WriteToFile(*config, file))
	return g, file
}

// TestWithoutTheAPIServerSessionsGoOn takes the API server away from the spoke in a turn: the agent works on and its events arrive, the
// spoke says that it is not ready and why, nothing is deleted, and what waits for a pod gets one when the API server is back.
func TestWithoutTheAPIServerSessionsGoOn(t *testing.T) {
	w := federate(limited(t), t, 1)
	c := w.bed.Clusters[0]
	gate, access := w.throughGate(c)
	metrics := freePort(t, w.bed.HubAddress())
	w.outside(c, "--kubeconfig", access, "--metrics-listen", metrics)
	w.live(c)
	w.apply("counter", imageOfAgents, "small", nil)
	session, _ := w.signal("counter", "away", "count")
	w.said(session, "line 3")
	was := w.onlyPod(c, session)

	gate.shut()
	shut := time.Now()
	w.await("the spoke is not ready", func() (bool, error) {
		code, text := ask(w.ctx, "http://"+metrics+"/readyz")
		if code == http.StatusServiceUnavailable {
			t.Logf("not ready %v after the API server went away: %s", time.Since(shut).Round(time.Millisecond), text)
		}
		return code == http.StatusServiceUnavailable, nil
	})
	w.said(session, "line 20") // it goes on
	waits, _ := w.signal("counter", "waits", "hello")
	w.said(session, "done 1")
	if pods := w.pods(c, session); len(pods) != 1 || pods[0].UID != was.UID {
		t.Errorf("while nobody could delete it, the session has %d pods, want the one that it had", len(pods))
	}
	if pods := w.pods(c, waits); len(pods) != 0 {
		t.Errorf("a session has %d pods that nobody could make", len(pods))
	}
	gate.open()
	opened := time.Now()
	w.await("the spoke is ready", func() (bool, error) {
		code, _ := ask(w.ctx, "http://"+metrics+"/readyz")
		return code == http.StatusOK, nil
	})
	t.Logf("ready again %v after the API server came back", time.Since(opened).Round(time.Millisecond))
	w.said(waits, "done 1")
	t.Logf("the session that waited has said its last word after %v", time.Since(opened).Round(time.Millisecond))
	w.sleeps(c, session)
	w.sleeps(c, waits)
	w.once(session)
}

// ask gets a page.
func ask(ctx context.Context, page string) (code int, text string) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return 0, err.Error()
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, 4<<10))
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(b)
}
