package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub/client"
	"github.com/nave-dev/nave/spoke"
)

// tokenOf makes a join token whose hub nobody is.
func tokenOf(cluster api.ClusterID, secret string) string {
	return client.JoinToken{Address: "https://127.0.0.1:1", AuthorityHash: [32]byte{1}, ClusterID: cluster, Secret: secret}.String()
}

// enrolled makes a directory of a spoke that has enrolled with a token; "" stands for a version that did not keep which.
func enrolled(t *testing.T, token string) string {
	t.Helper()
	dir := t.TempDir()
	m := membership{Cluster: "01CLUSTER", Name: "east", Service: "nave-hub", HubIdentities: []string{"hub"}}
	if token != "" {
		m.Token = hashOf(token)
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{memberFile: b, identityFile: []byte("identity"), keyFile: []byte("key"), "journal": []byte("journal")} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			for name, text := range content(t, filepath.Join(dir, e.Name())) {
				out["former/"+name] = text
			}
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = string(b)
	}
	return out
}

func nobody(string, ...any) {}

// What a member is started with again: the token that it used, or none, changes nothing.
func TestAMemberGoesOn(t *testing.T) {
	used := tokenOf("01CLUSTER", "used")
	for what, c := range map[string]struct{ kept, given string }{
		"without a token":                        {used, ""},
		"with the token that was used":           {used, used},
		"with a token when none was kept":        {"", tokenOf("01CLUSTER", "any")},
		"without a token when none was kept":     {"", ""},
		"with the token that was used, by force": {used, used},
	} {
		dir := enrolled(t, c.kept)
		before := content(t, dir)
		m, err := join(t.Context(), dir, c.given, strings.Contains(what, "force"), nobody)
		if err != nil || m.Name != "east" {
			t.Errorf("%s: %v, %v", what, m, err)
		}
		if d := cmp.Diff(before, content(t, dir)); d != "" {
			t.Errorf("%s changed the directory:\n%s", what, d)
		}
	}
}

func TestBadTokensAreRefusedWithTheRemedy(t *testing.T) {
	used := tokenOf("01CLUSTER", "used")
	whole := tokenOf("01CLUSTER", "new")
	forged := []byte(whole)
	forged[len(forged)/2] ^= 1
	for what, c := range map[string]struct {
		member bool
		token  string
		force  bool
		says   string
	}{
		"none":                               {false, "", false, "nave clusters register"},
		"cut off":                            {false, whole[:len(whole)-3], false, "copy it to its end"},
		"forged":                             {false, string(forged), false, "copy it again"},
		"something else":                     {false, "hello", false, "is not a join token"},
		"a new one for a member":             {true, whole, false, "--force-enroll"},
		"of another cluster":                 {true, tokenOf("01OTHER", "x"), false, "--data-dir"},
		"of another cluster, by force":       {true, tokenOf("01OTHER", "x"), true, "--data-dir"},
		"cut off, for a member and by force": {true, whole[:len(whole)-3], true, "copy it to its end"},
	} {
		dir := t.TempDir()
		if c.member {
			dir = enrolled(t, used)
		}
		before := content(t, dir)
		_, err := join(t.Context(), dir, c.token, c.force, nobody)
		if api.CodeOf(err) != api.CodeInvalid || api.FieldOf(err) != "join_token" || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want a word about join_token that says %q", what, err, c.says)
		}
		if c.token != "" && err != nil && strings.Contains(err.Error(), c.token) {
			t.Errorf("%s: the error repeats the token", what)
		}
		if d := cmp.Diff(before, content(t, dir)); d != "" {
			t.Errorf("%s changed the directory:\n%s", what, d)
		}
	}
}

// By force a member presents a new key. Its former one is kept aside and its journal stays where it is; a start that dies
// before it has enrolled presents the same new key again.
func TestEnrollingAnewKeepsTheJournal(t *testing.T) {
	dir := enrolled(t, tokenOf("01CLUSTER", "used"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // nobody answers: the start dies
	var keys []string
	for range 2 {
		if _, err := join(ctx, dir, tokenOf("01CLUSTER", "new"), true, nobody); err == nil {
			t.Fatal("a hub that is not there has answered")
		}
		got := content(t, dir)
		if got["journal"] != "journal" || got["former/"+keyFile] != "key" || got["former/"+identityFile] != "identity" || got["former/"+memberFile] == "" {
			t.Errorf("the directory has %q", got)
		}
		if got[memberFile] != "" || !strings.Contains(got[keyFile], "PRIVATE KEY") {
			t.Errorf("membership %q, key %q", got[memberFile], got[keyFile])
		}
		keys = append(keys, got[keyFile])
	}
	if keys[0] != keys[1] {
		t.Error("the repeat made another key: the token is bound to the first")
	}
}

// quietHandler is a spoke that listens to nothing.
type quietHandler struct{ spoke.LinkHandler }

func (quietHandler) Connected(context.Context, api.Welcome) error { return nil }
func (quietHandler) Disconnected(context.Context, error)          {}

func TestARemovedSpokeSaysSoOnce(t *testing.T) {
	var log strings.Builder
	r := &removed{LinkHandler: quietHandler{}, m: &membership{Name: "east"}, log: slog.New(slog.NewTextHandler(&log, nil))}
	denied := api.Errorf(api.CodeDenied, "identity x belongs to no cluster")
	said := func() int { return strings.Count(log.String(), "level=ERROR") }
	r.Disconnected(t.Context(), errors.New("cut"))
	r.Disconnected(t.Context(), api.Errorf(api.CodeUnavailable, "away"))
	if said() != 0 {
		t.Errorf("an outage looks like a removal:\n%s", log.String())
	}
	r.Disconnected(t.Context(), denied)
	r.Disconnected(t.Context(), denied)
	if said() != 1 || !strings.Contains(log.String(), "--force-enroll") {
		t.Errorf("said %d times:\n%s", said(), log.String())
	}
	if err := r.Connected(t.Context(), api.Welcome{}); err != nil {
		t.Fatal(err)
	}
	r.Disconnected(t.Context(), denied)
	if said() != 2 {
		t.Errorf("after it was let in again, said %d times", said())
	}
}
