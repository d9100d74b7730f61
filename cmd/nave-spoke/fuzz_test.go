package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// FuzzMembership: the file that says that a spoke is enrolled is refused, or names whom to trust and where it belongs: a spoke
// that trusts nobody in particular must not begin.
func FuzzMembership(f *testing.F) {
	good, err := json.Marshal(membership{Cluster: "c", Name: "n", Organization: "default", HubIdentities: []string{"h"}, Service: "s", Token: "t"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	for _, s := range []string{"", "null", "{}", "[]", `{"hub_identities":[]}`, `{"hub_identities":[""],"cluster":"c","service":"s"}`, `{"cluster":1}`, "\xff"} {
		f.Add([]byte(s))
	}
	dir := f.TempDir()
	if err := os.WriteFile(filepath.Join(dir, identityFile), []byte("{}"), 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(dir, memberFile)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := readMembership(dir)
		if err != nil {
			if !strings.Contains(err.Error(), path) {
				t.Errorf("an error that names no file: %v", err)
			}
			return
		}
		if m == nil || m.Cluster == "" || m.Service == "" || len(m.HubIdentities) == 0 {
			t.Fatalf("taken: %+v", m)
		}
		for _, h := range m.HubIdentities {
			if h == "" {
				t.Error("nobody is trusted by an empty name")
			}
		}
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, again, 0o600); err != nil {
			t.Fatal(err)
		}
		if back, err := readMembership(dir); err != nil || !reflect.DeepEqual(m, back) {
			t.Errorf("%+v became %+v, %v", m, back, err)
		}
	})
}
