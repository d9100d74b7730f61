//go:build kindtests

package kindtests

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
)

// refusing is a registry that has nothing. The first part of an image's path says how it refuses.
type refusing struct{ host string }

// refuse serves a registry on the bridge until the test ends.
func refuse(t testing.TB, at netip.Addr) refusing {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(at, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	r := refusing{l.Addr().String()}
	server := &http.Server{Handler: r}
	g := run.NewGroup(context.Background())
	g.Go("serve", func(context.Context) error {
		_ = server.Serve(l) // until it is closed
		return nil
	})
	t.Cleanup(func() {
		_ = server.Close()
		_ = g.Wait()
	})
	return r
}

// ServeHTTP answers as registries do.
func (x refusing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	w.Header().Set("Content-Type", "application/json")
	deny := func(status int, code, message string) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"errors": [{"code": %q, "message": %q}]}`, code, message)
	}
	switch {
	case r.URL.Path == "/token":
		deny(http.StatusUnauthorized, "UNAUTHORIZED", "incorrect username or password")
	case strings.HasPrefix(r.URL.Path, "/v2/unknown/"):
		w.Header().Set("Www-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="tests"`, x.host))
		deny(http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	case strings.HasPrefix(r.URL.Path, "/v2/forbidden/"):
		deny(http.StatusForbidden, "DENIED", "requested access to the resource is denied")
	default:
		deny(http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry")
	}
}

// TestARefusedPullIsTold: a registry that does not give an image and a name that nobody resolves are told apart, with the image and what the
// registry said, while the pod waits. A definition that names an image that is there starts at once, though the session waits for its next
// try.
func TestARefusedPullIsTold(t *testing.T) {
	w := federate(limited(t), t, 1)
	c := w.bed.Clusters[0]
	w.outside(c)
	w.live(c)
	registry := refuse(t, w.bed.HubAddress())
	w.must(c.PlainRegistry(w.ctx, registry.host))
	for _, test := range []struct {
		name, image string
		says        []string
	}{
		{"who is not known", registry.host + "/unknown/agent:1", []string{"401 Unauthorized"}},
		{"who may not", registry.host + "/forbidden/agent:1", []string{"403 Forbidden"}},
		{"what is not there", registry.host + "/none/agent:1", []string{"not found"}},
		{"a name that is nobodys", "registry.invalid/none/agent:1", []string{"registry.invalid", "lookup"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := w.at(t)
			agent := strings.ReplaceAll(test.name, " ", "-")
			w.apply(agent, test.image, "small", nil)
			session, accepted := w.signal(agent, "why", "hello")
			says := append([]string{"ErrImagePull", test.image}, test.says...)
			var shown string
			w.await("people see why", func() (ok bool, err error) {
				shown, err = w.Quiet(w.ctx, "sessions", "get", session)
				return err == nil && saysAll(shown, says), fmt.Errorf("%v: they see:\n%s", err, shown)
			})
			t.Logf("seen %v after the signal:\n%s", time.Since(accepted).Round(time.Millisecond), shown)
			w.await("the session's log says why", func() (bool, error) {
				ended := w.log(session).of(api.EventEnded)
				return len(ended) > 0 && saysAll(ended[0].GetText(), append(test.says, test.image)) && ended[0].GetAttributes()[api.AttrFailure] == string(api.StartFailureImage),
					fmt.Errorf("it says %v", ended)
			})
			t.Logf("given up %v after the signal", time.Since(accepted).Round(time.Millisecond))
			mended := time.Now()
			w.apply(agent, imageOfAgents, "small", nil)
			w.said(session, "done 1")
			took := time.Since(mended)
			t.Logf("done %v after the definition was mended", took.Round(time.Millisecond))
			if took > 10*time.Second { // the next try would have been after 10 s at the earliest
				t.Errorf("a mended definition took %v", took)
			}
			w.sleeps(c, session)
		})
	}
}
