package kube

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
)

func specOf() spoke.WorkloadSpec {
	return spoke.WorkloadSpec{
		ID:  spoke.WorkloadID{Session: "01K84MCRBE02142CSAG2RHF73C", Epoch: api.Epoch{Incarnation: 2, N: 7}, Attempt: 3},
		Org: api.DefaultOrg, Key: "a key",
		Revision: &api.ResolvedRevision{
			AgentID: "01K84MCRBE0000000000000000", AgentName: "tester", AgentRevision: 4, EnvironmentRevision: 5,
			Agent: &api.AgentSpec{
				Environment: "test", Instructions: "be good",
				Harness: api.HarnessSpec{Protocol: api.ProtocolACP, Command: []string{"agent", "--acp"}},
				MCPServers: []api.MCPServer{
					{Name: "files", Command: []string{"mcp-files"}, Stdio: true, Env: []api.EnvVar{{Name: "ROOT", Value: "/"}}},
					{Name: "search", Image: "registry.example/search:2", Port: 8931, Command: []string{"serve", "$(HOME)"}, Env: []api.EnvVar{{Name: "LIMIT", Value: "$5"}}},
				},
			},
			Environment: &api.EnvironmentSpec{Image: "registry.example/agent:1", Flavor: "small", Env: []api.EnvVar{{Name: "LANG", Value: "C"}}},
		},
	}
}

func settingsOf(t testing.TB, more string) Settings {
	t.Helper()
	s, err := parseSettings([]byte(least + more))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAClaimHoldsTheDescription(t *testing.T) {
	w, s := specOf(), settingsOf(t, "")
	c, err := claimOf(w, s, "01CLUSTER", "nave-default", "")
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != w.ID.String() || c.Immutable == nil || !*c.Immutable || c.Labels[LabelCluster] != "01cluster" || c.Labels[LabelEpoch] != "2-7" || c.Labels[LabelAttempt] != "3" {
		t.Errorf("claim %+v", c.ObjectMeta)
	}
	d, err := readClaim(c)
	if err != nil {
		t.Fatal(err)
	}
	if d.Cluster != "01CLUSTER" || d.Home != "/nave/state/home" || d.Path != "" || d.Socket != "" || d.Instructions != "be good" {
		t.Errorf("description %v", d)
	}
	if m := d.McpServers; len(m) != 2 || m[0].Url != "" || len(m[0].Command) != 1 || m[1].Url != "http://127.0.0.1:8931" || len(m[1].Command) != 0 || len(m[1].Env) != 0 {
		t.Errorf("tool servers %v", m)
	}
	other := specOf()
	other.Key = "another key"
	for _, tt := range []struct {
		name string
		spec spoke.WorkloadSpec
		same bool
	}{{"the same", specOf(), true}, {"another key", other, false}} {
		d, err := claimOf(tt.spec, s, "01CLUSTER", "nave-default", "registry.example/agent@sha256:x")
		if err != nil {
			t.Fatal(err)
		}
		if same, err := sameClaim(c, d); err != nil || same != tt.same {
			t.Errorf("%s: %v, %v", tt.name, same, err)
		}
	}
	large := specOf()
	large.Revision.Agent.Instructions = strings.Repeat("x", maxDescription)
	if _, err := claimOf(large, s, "01CLUSTER", "nave-default", ""); api.CodeOf(err) != api.CodeLimit {
		t.Errorf("a claim that is too large: %v", err)
	}
}

func TestPinned(t *testing.T) {
	const hash = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for _, tt := range []struct{ image, id, want string }{
		{"registry.example:5000/a/b:1", "registry.example:5000/a/b@" + hash, "registry.example:5000/a/b@" + hash},
		{"registry.example:5000/a/b", "docker-pullable://registry.example:5000/a/b@" + hash, "registry.example:5000/a/b@" + hash},
		{"busybox", "docker.io/library/busybox@" + hash, "busybox@" + hash},
		{"a@" + hash, "docker.io/library/a@" + hash, "a@" + hash},
		{"loaded:1", hash, ""},
		{"a:1", "a@sha256:short", ""},
		{"a:1", "", ""},
	} {
		if got := pinned(tt.image, tt.id); got != tt.want {
			t.Errorf("%s as %s: %q, want %q", tt.image, tt.id, got, tt.want)
		}
	}
}

func TestVersionsWithImageVolumes(t *testing.T) {
	for version, want := range map[string]bool{
		`{"major":"1","minor":"36"}`: true, `{"major":"1","minor":"36+"}`: true, `{"major":"2","minor":"0"}`: true,
		`{"major":"1","minor":"35"}`: false, `{"major":"1","minor":"9"}`: false, `{}`: false, `<html>`: false,
	} {
		if got := hasImageVolumes([]byte(version)); got != want {
			t.Errorf("%s: %v", version, got)
		}
	}
}

func TestDue(t *testing.T) {
	for _, tt := range []struct {
		live, ended string
		want        fate
	}{
		{"0s", "", volumeOver}, {"1h0m0s", "", volumeEnds}, {"1h0m0s", "2026-03-01T11:00:01Z", volumeKept}, {"1h0m0s", "2026-03-01T11:00:00Z", volumeOver},
		{"", "", volumeKept}, {"-1h", "", volumeKept}, {"soon", "", volumeKept}, {"1h", "long ago", volumeKept},
	} {
		if got := due(map[string]string{annotationLive: tt.live, annotationEnded: tt.ended}, noon); got != tt.want {
			t.Errorf("%q since %q: %v, want %v", tt.live, tt.ended, got, tt.want)
		}
	}
}

// FuzzClaim: what a claim or a volume says is an error, or bounded and of this workload.
func FuzzClaim(f *testing.F) {
	c, err := claimOf(specOf(), settingsOf(f, ""), "01CLUSTER", "nave-default", "")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(c.Name, c.Data[keyDescription], `{"exit":"no image","failure":"image"}`, "1h0m0s", "2026-03-01T11:00:00Z")
	f.Add("", "{}", "{}", "0s", "")
	f.Add("x", `{"id":"x","unknown":1}`, `{"exit":"\u0007"}`, "-1h", "x")
	f.Fuzz(func(t *testing.T, name, description, exit, live, since string) {
		c := &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{annotationExit: exit, annotationLive: live, annotationEnded: since}},
			Data:       map[string]string{keyDescription: description},
		}
		if d, err := readClaim(c); err == nil && d.Id != name {
			t.Errorf("claim %q describes %q", name, d.Id)
		}
		if e, ok := endingOf(c); ok {
			if len(e.Exit) > maxExit || known(e.Failure) != e.Failure {
				t.Errorf("%q became %+v", exit, e)
			}
			text, err := e.encode()
			if err != nil {
				t.Fatal(err)
			}
			c.Annotations[annotationExit] = text
			if back, ok := endingOf(c); e.Exit != "" && (!ok || back != e) {
				t.Errorf("%+v became %+v, %v", e, back, ok)
			}
		}
		if due(c.Annotations, noon) == volumeOver {
			if d, err := time.ParseDuration(live); err != nil || d < 0 {
				t.Errorf("a volume that lives for %q is over", live)
			}
		}
	})
}

// FuzzLastWords: what a container says of its end is a bounded text that can be shown, and a kind that there is.
func FuzzLastWords(f *testing.F) {
	f.Add(`{"reason":"stopped"}`)
	f.Add(`{"reason":"killed","turn":true}`)
	f.Add(`{"reason":"x","failure":"configuration"}`)
	f.Add("panic: \x1b[31m\n\tgoroutine 1\n")
	f.Fuzz(func(t *testing.T, message string) {
		words, log := lastWords(message)
		if words.Reason != "" && log != "" {
			t.Errorf("%q is a note and a log", message)
		}
		for _, text := range []string{words.Reason, log} {
			if len(text) > maxExit || clean(text) != text {
				t.Errorf("%q became %q", message, text)
			}
		}
		for _, code := range []int32{0, 1, 137} {
			e := ended(podWith(ends(code, "Error", message)), false, false)
			if e.Exit == "" || known(e.Failure) != e.Failure || words.Turn && e.Failure != "" {
				t.Errorf("%q with code %d became %+v", message, code, e)
			}
			if e := ended(podWith(ends(code, "Error", message)), true, false); e.Failure != "" || e.Exit == "" {
				t.Errorf("%q, asked to end, is %+v", message, e)
			}
		}
	})
}
