package client_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub/client"
)

func TestContextsComeBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "config.yaml")
	cs, err := client.LoadContexts(path)
	if err != nil || len(cs.Contexts) != 0 {
		t.Fatalf("a missing file: %v, %v", cs, err)
	}
	if _, err := cs.Find(""); api.CodeOf(err) != api.CodeFailed {
		t.Errorf("no context chosen: %v", err)
	}
	cs.Put(client.Context{Name: "dev", Address: "https://127.0.0.1:1", CA: "-----BEGIN\nx\n", Token: "t", Organization: "acme"})
	cs.Put(client.Context{Name: "prod", Address: "https://hub:1"})
	cs.Put(client.Context{Name: "prod", Address: "https://hub:2"})
	for range 2 { // the second time over a file that is there
		if err := cs.Save(path); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: want 0600", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
	got, err := client.LoadContexts(path)
	if diff := cmp.Diff(cs, got); err != nil || diff != "" {
		t.Fatal(err, diff)
	}
	if c, err := got.Find(""); err != nil || c.Name != "dev" {
		t.Errorf("current: %v, %v", c, err)
	}
	if c, err := got.Find("prod"); err != nil || c.Address != "https://hub:2" {
		t.Errorf("prod: %v, %v", c, err)
	}
	if _, err := got.Find("none"); api.CodeOf(err) != api.CodeNotFound {
		t.Errorf("none: %v", err)
	}
}

func TestContextsRefusals(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		mode       os.FileMode
		want       string
	}{
		{"open to others", "current: a\ncontexts: [{name: a, address: x}]\n", 0o644, "chmod 600"},
		{"open to the group", "", 0o640, "chmod 600"},
		{"unknown field", "curent: a\n", 0o600, "curent"},
		{"no yaml", "{", 0o600, "read"},
		{"twice", "contexts: [{name: a, address: x}, {name: a, address: y}]\n", 0o600, "twice"},
		{"current is none", "current: b\ncontexts: [{name: a, address: x}]\n", 0o600, "nave context use"},
		{"huge", strings.Repeat("#", 1<<20+1), 0o600, "larger"},
	} {
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, []byte(tc.text), tc.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, tc.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := client.LoadContexts(path); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", tc.name, err, tc.want)
		}
	}
	if _, err := client.LoadContexts(t.TempDir()); err == nil {
		t.Error("a folder was read")
	}
}

func TestContextsSaveKeepsALink(t *testing.T) {
	dir := t.TempDir()
	link, target := filepath.Join(dir, "link"), filepath.Join(dir, "target")
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if err := (&client.Contexts{Contexts: []client.Context{{Name: "a"}}}).Save(link); err != nil {
		t.Fatal(err)
	}
	if cs, err := client.LoadContexts(target); err != nil || len(cs.Contexts) != 1 {
		t.Errorf("the target holds %v, %v", cs, err)
	}
}

func TestDefaultContextsPath(t *testing.T) {
	for _, tc := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"NAVE_CONFIG": "/x/y", "HOME": "/h"}, "/x/y"},
		{map[string]string{"XDG_CONFIG_HOME": "/c", "HOME": "/h"}, "/c/nave/config.yaml"},
		{map[string]string{"XDG_CONFIG_HOME": "c", "HOME": "/h"}, "/h/.config/nave/config.yaml"},
		{map[string]string{}, ""},
	} {
		got, err := client.DefaultContextsPath(func(k string) string { return tc.env[k] })
		if got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%v: got %q, %v", tc.env, got, err)
		}
	}
}
