package bucket

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
)

// FuzzRefs: the object that makes a checkpoint complete is an error that names it, or says what this package writes.
func FuzzRefs(f *testing.F) {
	id := api.CheckpointID(strings.Repeat("0a", 32))
	for _, r := range []refs{{Sequence: 1, Manifest: 10}, {Sequence: 1 << 63, Manifest: 1, Pack: 2, PackHash: string(id), Packs: []api.CheckpointID{id}}, {Sequence: 1, Manifest: 1, Packs: []api.CheckpointID{"../x"}}} {
		b, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, s := range []string{"", "null", "{}", `{"sequence":-1}`, `{"sequence":1,"manifest":1,"pack":1}`, "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRefs("key", b)
		if err != nil {
			if r != nil || api.CodeOf(err) != api.CodeInternal || !strings.Contains(err.Error(), "key") {
				t.Errorf("%+v, %v", r, err)
			}
			return
		}
		if r.Sequence == 0 || r.Manifest < 1 || r.Pack < 0 {
			t.Errorf("taken: %+v", r)
		}
		for _, id := range r.Packs {
			if !id.Valid() {
				t.Errorf("pack %q", id)
			}
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		back, err := decodeRefs("key", again)
		if len(r.Packs) == 0 {
			r.Packs = nil // written as nothing
		}
		if err != nil || cmp.Diff(r, back) != "" {
			t.Errorf("%+v became %+v, %v", r, back, err)
		}
	})
}

// FuzzKey: a key in the bucket is one that this package made, or nothing of ours; no name of an organization or a session
// leaves its place.
func FuzzKey(f *testing.F) {
	id := strings.Repeat("0a", 32)
	f.Add("default", "01J00000000000000000000000", "checkpoints/default/01J00000000000000000000000/"+id+"/refs")
	for _, s := range []string{"", "..", "a/b", "%2f", "\x00", "\xff"} {
		f.Add(s, s, "checkpoints/"+s+"/"+s+"/"+id+"/refs")
		f.Add(s, s, s)
	}
	f.Fuzz(func(t *testing.T, org, session, key string) {
		p := prefix(api.OrgID(org), api.SessionID(session))
		if parts := strings.Count(p, "/"); parts != 3 {
			t.Errorf("%q has %d parts", p, parts)
		}
		got, name, ok := parse(p, objectKey(p, api.CheckpointID(id), refsName))
		if !ok || string(got) != id || name != refsName {
			t.Errorf("a key is read as %q, %q, %v", got, name, ok)
		}
		if got, name, ok := parse(p, key); ok && (objectKey(p, got, name) != key || !got.Valid()) {
			t.Errorf("%q is read as %q, %q", key, got, name)
		}
	})
}
