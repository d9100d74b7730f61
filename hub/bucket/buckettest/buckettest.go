package buckettest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"testing"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// Bucket is what the suite tests.
type Bucket interface {
	hub.Bucket
	hub.Vault
}

// Place is where objects lie, empty at first.
type Place interface {
	// Open returns another user of the objects, as another process would be. The place closes it when the test ends.
	Open(t *testing.T) Bucket
}

// Run checks a bucket against the contract of the ports. create is called once per test.
func Run(t *testing.T, create func(t *testing.T) Place) {
	for name, test := range map[string]func(*testing.T, Place){
		"Payloads":                    testPayloads,
		"SaveAndFetch":                testSaveAndFetch,
		"Ranges":                      testRanges,
		"RefusesHeaders":              testRefusesHeaders,
		"RefusesOtherContent":         testRefusesContent,
		"RefusesMissingPacks":         testMissingPacks,
		"Interrupted":                 testInterrupted,
		"TheSameAgain":                testSameAgain,
		"TheSameAtOnce":               testSameAtOnce,
		"Tenants":                     testTenants,
		"Collect":                     testCollect,
		"CollectEverything":           testCollectEverything,
		"CollectKeepsWhenInDoubt":     testCollectInDoubt,
		"CollectManyObjects":          testCollectMany,
		"CollectWhileSaving":          testCollectWhileSaving,
		"CollectOfASessionBeingSaved": testCollectEnded,
		"StatesThatComeBack":          testComeBack,
		"Histories":                   testHistories,
	} {
		t.Run(name, func(t *testing.T) { test(t, create(t)) })
	}
}

const (
	org     = api.OrgID("acme")
	session = api.SessionID("01HZY0000000000000000000AA")
)

// made is a checkpoint as a harness makes it.
type made struct {
	header  api.CheckpointHeader
	content []byte
}

// make builds the n-th state with a pack of so many bytes, that needs the packs of others.
func build(n, pack int, packs ...api.CheckpointID) made {
	manifest := fmt.Appendf(nil, "state %d with %d bytes and %v", n, pack, packs)
	chunks := bytes.Repeat([]byte{byte(n), byte(n >> 8), 7}, pack/3+1)[:pack]
	h := api.CheckpointHeader{Session: session, Source: api.Source{Epoch: api.Epoch{Incarnation: 1, N: 2}, Attempt: 1}, ID: api.CheckpointID(fmt.Sprintf("%x", sha256.Sum256(manifest))),
		Manifest: int64(len(manifest)), Pack: int64(pack), Packs: packs}
	if pack > 0 {
		h.PackHash = sha256.Sum256(chunks)
	}
	return made{h, append(manifest, chunks...)}
}

func (m made) manifest() []byte { return m.content[:m.header.Manifest] }
func (m made) pack() []byte     { return m.content[m.header.Manifest:] }

func (m made) save(ctx context.Context, v hub.Vault) error {
	return v.SaveCheckpoint(ctx, org, m.header, bytes.NewReader(m.content))
}

// tester is what both testing and rapid offer.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
	Context() context.Context
}

func must(t tester, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func wantCode(t tester, what string, err error, code api.Code) {
	t.Helper()
	if api.CodeOf(err) != code {
		t.Fatalf("%s = %v (code %q), want code %q", what, err, api.CodeOf(err), code)
	}
}

// wantComplete makes sure that a checkpoint and every pack that it needs can be read.
func wantComplete(t tester, v hub.Vault, m made, needs ...made) {
	t.Helper()
	wantHas(t, v, m.header.ID, true)
	wantPart(t, v, m.header.ID, api.PartManifest, m.manifest())
	for _, n := range append(needs, m) {
		wantPart(t, v, n.header.ID, api.PartPack, n.pack())
	}
}

func wantHas(t tester, v hub.Vault, id api.CheckpointID, want bool) {
	t.Helper()
	got, err := v.HasCheckpoint(t.Context(), org, session, id)
	must(t, "HasCheckpoint", err)
	if got != want {
		t.Fatalf("HasCheckpoint(%.8s) = %t, want %t", id, got, want)
	}
}

func wantPart(t tester, v hub.Vault, id api.CheckpointID, part api.CheckpointPart, want []byte) {
	t.Helper()
	var got bytes.Buffer
	must(t, fmt.Sprintf("fetch the %s of %.8s", part, id), v.FetchCheckpoint(t.Context(), org, session, id, part, 0, 0, &got))
	if !bytes.Equal(got.Bytes(), want) {
		t.Fatalf("%s of %.8s has %d bytes, want the %d that were saved", part, id, got.Len(), len(want))
	}
}

func wantGone(t tester, v hub.Vault, m made) {
	t.Helper()
	wantHas(t, v, m.header.ID, false)
	for _, part := range []api.CheckpointPart{api.PartManifest, api.PartPack} {
		err := v.FetchCheckpoint(t.Context(), org, session, m.header.ID, part, 0, 0, io.Discard)
		wantCode(t, fmt.Sprintf("the %s of %.8s, which is gone", part, m.header.ID), err, api.CodeNotFound)
	}
}

func collect(t tester, v hub.Vault, keep ...made) int {
	t.Helper()
	n, err := v.CollectCheckpoints(t.Context(), org, session, ids(keep...))
	must(t, "CollectCheckpoints", err)
	return n
}

func ids(of ...made) []api.CheckpointID {
	var out []api.CheckpointID
	for _, m := range of {
		out = append(out, m.header.ID)
	}
	return out
}
