package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// Replica is one user of the store.
type Replica interface {
	hub.Definitions
	hub.ShardStore
	hub.Clusters
	hub.Departures
	hub.Leases
	hub.Credentials
}

// Stores is what a test runs on: two users of one store that was empty.
type Stores struct{ One, Other Replica }

// Run checks a store against the contract of the ports. open is called once per test.
func Run(t *testing.T, open func(t *testing.T) Stores) {
	for name, test := range tests() {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// RunOnly runs the named tests, for a fake of which only a part is used.
func RunOnly(t *testing.T, open func(t *testing.T) Stores, names ...string) {
	all := tests()
	for _, name := range names {
		test, ok := all[name]
		if !ok {
			t.Errorf("there is no test %q", name)
			continue
		}
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func tests() map[string]func(*testing.T, Stores) {
	return map[string]func(*testing.T, Stores){
		"Definitions/CreateUpdateDelete":       testDefinitionLife,
		"Definitions/RevisionsNeverChange":     testRevisionsNeverChange,
		"Definitions/Lists":                    testDefinitionLists,
		"Definitions/Users":                    testUsers,
		"Definitions/Organizations":            testOrganizations,
		"Definitions/ConcurrentUpdates":        testConcurrentUpdates,
		"Definitions/DecideRunsAgain":          testDecideRunsAgain,
		"Shards/ClaimFences":                   testClaimFences,
		"Shards/ConcurrentClaims":              testConcurrentClaims,
		"Shards/ClaimsOfAllShards":             testClaimsOfAllShards,
		"Shards/CommitIsAllOrNone":             testCommitAllOrNone,
		"Shards/AliveIsCompared":               testAliveCompared,
		"Shards/ConsumedSignals":               testConsumedSignals,
		"Shards/LoadsManyKeys":                 testLoadsManyKeys,
		"Shards/LoadsAtOneMoment":              testLoadsAtOneMoment,
		"Shards/Limits":                        testLimits,
		"Shards/RefusesDefects":                testRefusesDefects,
		"Shards/Model":                         testShardModel,
		"Clusters/Life":                        testClusterLife,
		"Clusters/TokenBindsOnce":              testTokenBinds,
		"Clusters/ConcurrentBind":              testConcurrentBind,
		"Departures/DeleteComparesPlacements":  testDeleteComparesPlacements,
		"Departures/Rejoin":                    testRejoin,
		"Leases/TakeRenewHolders":              testLeaseTake,
		"Leases/SecondBootAndJournalTakeover":  testLeaseTakeover,
		"Leases/OtherFingerprint":              testLeaseFingerprint,
		"Leases/Expiry":                        testLeaseExpiry,
		"Leases/ConcurrentTake":                testConcurrentTake,
		"Leases/EndWithTheCluster":             testLeaseEndsWithCluster,
		"Credentials/PutRead":                  testCredentials,
		"Errors/CancelledContextIsUnavailable": testCancelled,
	}
}

// JSONCodec encodes specs as JSON. It is for tests of the store alone; the hub uses the public API's messages.
type JSONCodec struct{}

// EncodeSpec implements the store's codec.
func (JSONCodec) EncodeSpec(s api.Spec) ([]byte, error) { return json.Marshal(s) }

// DecodeSpec implements the store's codec.
func (JSONCodec) DecodeSpec(kind api.Kind, b []byte) (api.Spec, error) {
	var s api.Spec
	switch kind {
	case api.KindAgent:
		s = new(api.AgentSpec)
	case api.KindEnvironment:
		s = new(api.EnvironmentSpec)
	case api.KindPlacementPolicy:
		s = new(api.PlacementPolicySpec)
	case api.KindGrant:
		s = new(api.GrantSpec)
	default:
		return nil, fmt.Errorf("kind %q is not known", kind)
	}
	return s, json.Unmarshal(b, s)
}

// began is a time that survives any encoding.
var began = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)

// entropy of the ids of the tests, so that ids differ from each other only in their number.
func id(n int) string { return api.NewULID(began.Add(time.Duration(n)*time.Millisecond), [10]byte{9}) }

// tester is what both testing and rapid offer.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
	Context() context.Context
}

func wantCode(t tester, what string, err error, code api.Code) {
	t.Helper()
	if api.CodeOf(err) != code {
		t.Fatalf("%s = %v (code %q), want code %q", what, err, api.CodeOf(err), code)
	}
}

func must(t tester, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func wantSame(t tester, what string, got, want any, opts ...cmp.Option) {
	t.Helper()
	if d := cmp.Diff(want, got, append(opts, cmpopts.EquateEmpty())...); d != "" {
		t.Fatalf("%s differs (-want +got):\n%s", what, d)
	}
}

// eventually waits until a condition holds, asking again without a pause longer than the store needs to answer.
func eventually(t *testing.T, what string, within time.Duration, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %v", what, within)
		}
	}
}

func testCancelled(t *testing.T, s Stores) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.One.Head(ctx, 1)
	wantCode(t, "Head with a cancelled context", err, api.CodeUnavailable)
	err = s.One.Commit(ctx, []hub.Batch{{Shard: 1}})
	wantCode(t, "Commit with a cancelled context", err, api.CodeUnavailable)
}

func testCredentials(t *testing.T, s Stores) {
	ctx := t.Context()
	_, err := s.One.Credential(ctx, [32]byte{1})
	wantCode(t, "an unknown credential", err, api.CodeNotFound)
	for i, c := range []hub.Credential{
		{Org: "default", Subject: "root", Role: hub.RoleAdmin},
		{Org: "a/b", Subject: "ci", Role: hub.RoleViewer, ExpiresAt: began},
	} {
		must(t, "PutCredential", s.One.PutCredential(ctx, [32]byte{byte(i)}, c))
		got, err := s.Other.Credential(ctx, [32]byte{byte(i)})
		must(t, "Credential", err)
		wantSame(t, "credential", got, c)
	}
}
