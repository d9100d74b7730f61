package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/nave-dev/nave/api"
)

// file writes a text and returns where it is.
func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const settings = `service: nave-spoke.nave-system.svc:7443
namespaces:
  organizations: {default: nave-default}
harness: {image: example.org/nave-harness:1}
`

// kubeconfig is one whose context names a namespace, or none.
func kubeconfig(namespace string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: secret}}]
contexts: [{name: x, context: {cluster: c, user: u, namespace: %q}}]
current-context: x
`, namespace)
}

func TestPodsNeedNoProgramOfThisMachine(t *testing.T) {
	o, err := parse(t, map[string]string{"HOME": "/home/x"}, "--runtime=kubernetes", "--kubernetes="+file(t, settings))
	if err != nil {
		t.Fatal(err)
	}
	if o.Settings.Service != "nave-spoke.nave-system.svc:7443" || o.DoorListen != ":7443" || o.Harness != "" || len(o.Flavors) != 0 {
		t.Errorf("options = %+v", o)
	}
}

func TestPlatformsAreNotMixed(t *testing.T) {
	h, k := "--harness="+program(t), "--kubernetes="+file(t, settings)
	for name, c := range map[string]struct {
		field string
		args  []string
	}{
		"a runtime that nobody knows": {"--runtime", []string{h, "--runtime=docker"}},
		"settings for processes":      {"--kubernetes", []string{h, k}},
		"a kubeconfig for processes":  {"--kubeconfig", []string{h, "--kubeconfig=x"}},
		"a namespace for processes":   {"--namespace", []string{h, "--namespace=x"}},
		"a door for processes":        {"--door-listen", []string{h, "--door-listen=:1"}},
		"an account for processes":    {"--service-account", []string{h, "--service-account=x"}},
		"pods without settings":       {"--kubernetes", []string{"--runtime=kubernetes"}},
		"pods with a program":         {"--harness", []string{"--runtime=kubernetes", k, h}},
		"pods with flavors of ours":   {"--flavor", []string{"--runtime=kubernetes", k, "--flavor=small=1"}},
		"settings with a wrong field": {"service", []string{"--runtime=kubernetes", "--kubernetes=" + file(t, strings.Replace(settings, ":7443", "", 1))}},
	} {
		if _, err := parse(t, map[string]string{"HOME": "/home/x"}, c.args...); api.FieldOf(err) != c.field {
			t.Errorf("%s: %v, want an error about %s", name, err, c.field)
		}
	}
	if _, err := parse(t, map[string]string{"HOME": "/home/x"}, "--runtime=kubernetes", "--kubernetes="+file(t, settings+"colour: red\n")); err == nil || !strings.Contains(err.Error(), "colour") {
		t.Errorf("a field that nobody knows: %v", err)
	}
}

func TestAccessSaysWhereTheSpokeIs(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "") // this may be a pod
	for name, c := range map[string]struct {
		p         platform
		namespace string
		field     string
	}{
		"of the context":            {platform{Kubeconfig: file(t, kubeconfig("here"))}, "here", ""},
		"of the flag":               {platform{Kubeconfig: file(t, kubeconfig("here")), Namespace: "there"}, "there", ""},
		"of nobody":                 {platform{Kubeconfig: file(t, kubeconfig(""))}, "", "--namespace"},
		"no such file":              {platform{Kubeconfig: "/nonexistent"}, "", "--kubeconfig"},
		"no file, and this no pod":  {platform{Namespace: "there"}, "", "--kubeconfig"},
		"a file with something odd": {platform{Kubeconfig: file(t, "[]")}, "", "--kubeconfig"},
	} {
		access, namespace, err := c.p.access()
		if api.FieldOf(err) != c.field || (err == nil) != (c.field == "") || namespace != c.namespace {
			t.Errorf("%s: namespace %q, %v; want %q and an error about %q", name, namespace, err, c.namespace, c.field)
		}
		if err == nil && (access.Host != "https://127.0.0.1:1" || !strings.HasPrefix(access.UserAgent, "nave-spoke/")) {
			t.Errorf("%s: access %+v", name, access)
		}
	}
}

// apiServer answers every question with the code and the text that next returns.
func apiServer(t *testing.T, next func(path string) (int, string)) *rest.Config {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		code, text := next(r.URL.Path)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprint(w, text)
	}))
	t.Cleanup(s.Close)
	return &rest.Config{Host: s.URL}
}

func TestTheFingerprintIsTheUIDOfTheEldestNamespace(t *testing.T) {
	var asked atomic.Int32
	access := apiServer(t, func(path string) (int, string) {
		if asked.Add(1) == 1 {
			return http.StatusServiceUnavailable, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"ServiceUnavailable","code":503}`
		}
		if path != "/api/v1/namespaces/kube-system" {
			return http.StatusNotFound, "{}"
		}
		return http.StatusOK, `{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"kube-system","uid":"0c6d"}}`
	})
	got, err := fingerprintOfCluster(t.Context(), access, slog.New(slog.DiscardHandler))
	if err != nil || got != "0c6d" || asked.Load() < 2 {
		t.Errorf("fingerprint %q, %v, after %d questions; want 0c6d after an API server that was away", got, err, asked.Load())
	}
}

func TestAFingerprintThatMayNotBeReadNamesTheRole(t *testing.T) {
	access := apiServer(t, func(string) (int, string) {
		return http.StatusForbidden, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","message":"namespaces \"kube-system\" is forbidden","code":403}`
	})
	_, err := fingerprintOfCluster(t.Context(), access, slog.New(slog.DiscardHandler))
	if api.CodeOf(err) != api.CodeDenied || !strings.Contains(err.Error(), "a Role in kube-system that may get namespaces with the resource name kube-system") {
		t.Errorf("%v, want a denial that names the Role", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := fingerprintOfCluster(ctx, &rest.Config{Host: "http://127.0.0.1:1"}, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "fingerprint of the cluster") {
		t.Errorf("an API server that is not there: %v", err)
	}
}

// TestAManagedNamespaceHasWhatTheSettingsSay, and the address at which the spoke itself reaches the API server is never reached by sessions.
func TestAManagedNamespaceHasWhatTheSettingsSay(t *testing.T) {
	text := strings.Replace(settings, "  organizations", "  manage: true\n  template: {quota: {pods: 20}, pull_secrets: [a], api_servers: [10.96.0.1]}\n  organizations", 1) + "egress: [0.0.0.0/0, \"::/0\"]\n"
	o, err := parse(t, map[string]string{"HOME": "/home/x"}, "--runtime=kubernetes", "--kubernetes="+file(t, text))
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string][]string{
		"https://192.0.2.4:6443":    {"10.96.0.1", "192.0.2.4"},
		"https://[2001:db8::1]:443": {"10.96.0.1", "2001:db8::1"},
		"192.0.2.4:6443":            {"10.96.0.1", "192.0.2.4"},
		"https://api.example.com":   {"10.96.0.1"},
		"https://127.0.0.1:6443":    {"10.96.0.1"},
	} {
		s, err := o.managed(&rest.Config{Host: host}, "nave-system", "01J9", "acme", "nave-acme")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(); err != nil {
			t.Errorf("%s: %v", host, err)
		}
		if !slices.Equal(s.APIServers, want) || s.Quota.Pods != "20" || len(s.EgressCIDRs) != 2 || s.Cluster != "01j9" || !s.Manage {
			t.Errorf("%s: API servers %v, want %v; %+v", host, s.APIServers, want, s)
		}
	}
	if got := o.Settings.Namespaces.Template.APIServers; len(got) != 1 {
		t.Errorf("the settings were changed: %v", got)
	}
	log := slog.New(slog.DiscardHandler)
	if c, err := o.managing(&rest.Config{Host: "https://192.0.2.4"}, "nave-x", "01J9", log); err != nil || c == nil {
		t.Errorf("managing: %v, %v", c, err)
	}
	o.Settings.Egress = []string{"192.0.2.4/32"}
	if _, err := o.managing(&rest.Config{Host: "https://192.0.2.4"}, "nave-system", "01J9", log); api.FieldOf(err) != "egress[0]" {
		t.Errorf("egress to where the spoke reaches the API server: %v", err)
	}
	o.Settings.Namespaces.Manage = false
	if c, err := o.managing(nil, "nave-system", "01J9", log); err != nil || c != nil {
		t.Errorf("a spoke that manages nothing: %v, %v", c, err)
	}
}
