package rpc

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

func TestAMethodWithoutARuleIsNotServed(t *testing.T) {
	served := methods(apiFiles())
	if err := checkAccess(access, served); err != nil {
		t.Fatal(err)
	}
	const method = "/nave.v1.Sessions/Signal"
	for what, change := range map[string]func(map[string]rule){
		"has no row":                  func(m map[string]rule) { delete(m, method) },
		"needs a known role":          func(m map[string]rule) { m[method] = rule{} },
		"exactly one of them":         func(m map[string]rule) { m[method] = rule{role: hub.RoleViewer, public: "why"} },
		"role or a reason":            func(m map[string]rule) { m[method] = rule{role: "guest"} },
		"/nave.v1.Cats/Pet, which is": func(m map[string]rule) { m["/nave.v1.Cats/Pet"] = rule{role: hub.RoleAdmin} },
	} {
		table := maps.Clone(access)
		change(table)
		if err := checkAccess(table, served); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v, want an error that says %q", err, what)
		}
	}
}

func TestEveryCodeHasAStatus(t *testing.T) {
	for _, c := range api.Codes() {
		if statusOf[c] == 0 {
			t.Errorf("%s has no status", c)
		}
	}
	if len(statusOf) != len(api.Codes()) {
		t.Errorf("the table has %d rows, there are %d codes", len(statusOf), len(api.Codes()))
	}
}

func TestConfigsAreChecked(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("a server without parts is made")
	}
	if _, err := New(Config{Catalog: &hub.Catalog{}, Fleet: &hub.Fleet{}, Sessions: noSessions{}, Intents: noIntents{}, Approvals: noApprovals{}, History: noHistory{}, Payloads: noPayloads{}, Auth: &hub.Authenticator{}, Facts: func(context.Context, api.OrgID) hub.StatusFacts { panic("never called") }, Limits: Limits{Rate: -1}}); err == nil || !strings.Contains(err.Error(), "limits") {
		t.Errorf("a negative limit: %v", err)
	}
	if _, err := hub.NewCatalog(hub.CatalogConfig{}); err == nil {
		t.Error("a catalog without a store is made")
	}
	if _, err := hub.NewFleet(hub.FleetConfig{}); err == nil {
		t.Error("a fleet without a store is made")
	}
	if _, err := hub.NewAuthenticator(nil, nil); err == nil {
		t.Error("an authenticator without a store is made")
	}
}

// TestCallersAreBounded: beyond the bound callers share an account instead of growing the memory.
func TestCallersAreBounded(t *testing.T) {
	now := testTime
	q := newQuotas(Limits{}.withDefaults(), func() time.Time { return now })
	for i := range maxCallers + 50 {
		if err := q.call(fmt.Sprint("caller ", i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(q.accounts); n > maxCallers+1 {
		t.Errorf("%d accounts are kept", n)
	}
	now = now.Add(2 * accountIdle)
	if err := q.call("a new one"); err != nil || len(q.accounts) != 1 {
		t.Errorf("%d accounts are left when all are idle, %v", len(q.accounts), err)
	}
}

var testTime = time.Unix(1_700_000_000, 0)

// These have the methods and nothing behind them: they are never called.
type (
	anySessions  = Sessions
	anyHistory   = History
	anyPayloads  = Payloads
	anyIntents   = Intents
	anyApprovals = Approvals

	noSessions  struct{ anySessions }
	noIntents   struct{ anyIntents }
	noApprovals struct{ anyApprovals }
	noHistory   struct{ anyHistory }
	noPayloads  struct{ anyPayloads }
)
