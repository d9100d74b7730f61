package rpc_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

func TestStatusHasTheWorstFirst(t *testing.T) {
	w := newWorld(t, func(c *rpcConfig) {
		c.Ready = func() map[string]error {
			return map[string]error{"shards": nil, "etcd": api.Errorf(api.CodeUnavailable, "overlaid")}
		}
	})
	w.parts = map[string]error{"etcd": nil, "archive": api.Errorf(api.CodeUnavailable, "the database is away")}
	a := w.post("/nave.v1.System/Status", "Bearer "+w.token(hub.RoleViewer, time.Time{}), "{}")
	var got []string
	for _, c := range a.Body["checks"].([]any) {
		m := c.(map[string]any)
		remedy, _ := m["remedy"].(string)
		if got = append(got, fmt.Sprintf("%s %s", m["state"], m["name"])); (remedy == "") != (m["state"] == "ok") {
			t.Errorf("%v: a remedy belongs to what is not ok", m)
		}
	}
	want := []string{"failing archive", "ok etcd", "ok shards", "ok clusters", "ok sessions", "ok signals", "ok approvals", "ok dead-letters"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if a.Body["version"] != "v0.0.0-test" || a.Body["pendingSignals"] != 3.0 {
		t.Errorf("%v", a.Body)
	}
}
