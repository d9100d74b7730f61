package kube

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/kube/tenant"
)

const least = `
service: nave-spoke.nave-system.svc:7443
namespaces: {organizations: {default: nave-default}}
harness: {image: registry.example/nave-harness:1}
`

// managed are settings of a spoke that makes namespaces of a template.
func managed(template string) string {
	return strings.Replace(least, "{organizations", "{manage: true, template: "+template+", organizations", 1)
}

func TestReadSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kubernetes.yaml")
	if err := os.WriteFile(file, []byte(least), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := ReadSettings(file)
	if err != nil {
		t.Fatal(err)
	}
	if s.Pods.User != 65532 || s.Pods.ServiceAccount != "nave-session" || s.Harness.Delivery != DeliveryAuto || time.Duration(s.StartLimit) != 5*time.Minute || len(s.Flavors) != 3 || s.NetworkPolicies != PoliciesUnknown {
		t.Errorf("defaults: %+v", s)
	}
	if ns, ok := s.namespace("default"); ns != "nave-default" || !ok {
		t.Errorf("namespace %q, %v", ns, ok)
	}
	if _, ok := s.namespace("other"); ok {
		t.Error("an organization without a namespace has one")
	}
	s.Namespaces.Manage = true
	if ns, ok := s.namespace("Other"); ns != "nave-other" || !ok {
		t.Errorf("made namespace %q, %v", ns, ok)
	}
	if _, err := ReadSettings(file + ".none"); err == nil {
		t.Error("a file that does not exist was read")
	}
	s, err = parseSettings([]byte(managed("{quota: {cpu: 16, memory: 64Gi, pods: '20'}, limits: {memory: 256Mi}, pull_secrets: [a], api_servers: [10.96.0.1]}") + "egress: [0.0.0.0/0]"))
	want := tenant.Template{PullSecrets: []string{"a"}, Quota: tenant.Quota{CPU: "16", Memory: "64Gi", Pods: "20"}, Limits: tenant.Limits{Memory: "256Mi"}, APIServers: []string{"10.96.0.1"}}
	if diff := cmp.Diff(want, s.Namespaces.Template); err != nil || diff != "" {
		t.Errorf("%v, template (-want +got):\n%s", err, diff)
	}
}

func TestSettingsSayWhatIsWrong(t *testing.T) {
	for _, tt := range []struct{ name, yaml, field, says string }{
		{"service", "service: nowhere", "service", "host:port"},
		{"service without a port", "service: 'nave:0'", "service", "host:port"},
		{"unknown field", least + "start_limits: 5m", "", "start_limits"},
		{"unknown field of pods", least + "pods: {usr: 5}", "", "usr"},
		{"no namespace", strings.Replace(least, "{organizations: {default: nave-default}}", "{}", 1), "namespaces.organizations", "manage"},
		{"bad namespace", strings.Replace(least, "nave-default", "Nave_Default", 1), "namespaces.organizations[default]", "Nave_Default"},
		{"shared namespace", strings.Replace(least, "{default: nave-default}", "{a: one, b: one}", 1), "namespaces.organizations[b]", `"a"`},
		{"no harness", strings.Replace(least, "registry.example/nave-harness:1", "''", 1), "harness.image", "nave-harness"},
		{"delivery", strings.Replace(least, "{image", "{delivery: post, image", 1), "harness.delivery", "post"},
		{"root", least + "pods: {user: -1}", "pods.user", "not root"},
		{"pull policy", least + "pods: {pull_policy: Sometimes}", "pods.pull_policy", "IfNotPresent"},
		{"label of Nave's", least + "pods: {labels: {nave.dev/cluster: x}}", "pods.labels", "leave it out"},
		{"bad label", least + "pods: {labels: {a: 'b c'}}", "pods.labels", "a"},
		{"flavor without memory", least + "flavors: {small: {cpu: 1}}", "flavors.small.memory", "512Mi"},
		{"flavor of nothing", least + "flavors: {small: {cpu: 1, memory: '0'}}", "flavors.small.memory", "more"},
		{"flavor's limit", least + "flavors: {small: {cpu: 1, memory: 1Gi, cpu_limit: 500m}}", "flavors.small.cpu_limit", "below"},
		{"flavor's count", least + "flavors: {small: {cpu: 1, memory: 1Gi, count: -1}}", "flavors.small.count", "-1"},
		{"flavor's name", least + "flavors: {'Big One': {cpu: 1, memory: 1Gi}}", "flavors", "Big One"},
		{"start limit", least + "start_limit: 1s", "start_limit", "10s"},
		{"start limit as a number", least + "start_limit: 60", "", "duration"},
		{"policies", least + "network_policies: maybe", "network_policies", "enforced"},
		{"template without management", strings.Replace(least, "{organizations", "{template: {quota: {pods: 5}}, organizations", 1), "namespaces.template", "set namespaces.manage"},
		{"unknown field of a template", managed("{quotas: {pods: 5}}"), "", "quotas"},
		{"quota of a template", managed("{quota: {memory: lots}}"), "namespaces.template.quota.memory", "lots"},
		{"quota that is a list", managed("{quota: {memory: [1]}}"), "", "no quantity"},
		{"limits of a template", managed("{limits: {memory: 1Gi, memory_request: 2Gi}}"), "namespaces.template.limits.memory_request", "above the 1Gi"},
		{"secrets of a template", managed("{pull_secrets: [a, B]}"), "namespaces.template.pull_secrets[1]", "lower case"},
		{"API server of a template", managed("{api_servers: [api.example.com]}"), "namespaces.template.api_servers[0]", "api.example.com"},
		{"egress without API servers", managed("{}") + "egress: [0.0.0.0/0]", "namespaces.template.api_servers", "kubectl --namespace default get"},
		{"egress to the API server", managed("{api_servers: [10.96.0.1]}") + "egress: [10.96.0.1/32]", "egress[0]", "no session may reach"},
		{"egress to a metadata address", managed("{api_servers: [10.96.0.1]}") + "egress: [100.100.100.200/32]", "egress[0]", "no session may reach"},
		{"egress", least + "egress: [10.0.0.1/8]", "egress[0]", "10.0.0.0/8"},
		{"class", least + "runtime_classes: ['a b']", "runtime_classes[0]", "a b"},
		{"twice", least + "egress: []\negress: []", "", "egress"},
	} {
		_, err := parseSettings([]byte(tt.yaml))
		if err == nil || api.CodeOf(err) != api.CodeInvalid || api.FieldOf(err) != tt.field || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v (code %q, field %q), want field %q and %q", tt.name, err, api.CodeOf(err), api.FieldOf(err), tt.field, tt.says)
		}
	}
}

// FuzzSettings: settings are refused, or complete, and written to the same again.
func FuzzSettings(f *testing.F) {
	f.Add([]byte(least))
	f.Add([]byte(least + "flavors: {small: {cpu: 1, memory: 1Gi, count: 3, ephemeral_storage: 1Gi}}\nstart_limit: 1m\npods: {tolerations: [{key: a, operator: Exists}]}"))
	f.Add([]byte(least + "namespaces: {manage: true}\negress: [10.0.0.0/8]"))
	f.Add([]byte(managed("{quota: {cpu: 1.5, pods: 20}, limits: {memory: 256Mi}, pull_secrets: [], api_servers: [10.96.0.1]}") + "egress: [0.0.0.0/0]"))
	f.Add([]byte("service: [1]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSettings(b)
		if err != nil {
			if api.CodeOf(err) != api.CodeInvalid || len(err.Error()) > 20_000+2*len(b) {
				t.Errorf("code %q: %.200v", api.CodeOf(err), err)
			}
			return
		}
		for name, flavor := range s.Flavors {
			r := flavor.resources()
			if r.Requests.Memory().Sign() <= 0 || r.Requests.Cpu().Sign() <= 0 || r.Requests.Memory().Cmp(*r.Limits.Memory()) != 0 {
				t.Errorf("flavor %s is %+v", name, r)
			}
		}
		out, err := yaml.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		back, err := parseSettings(out)
		if err != nil {
			t.Fatalf("%v of\n%s", err, out)
		}
		again, err := yaml.Marshal(back)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(out), string(again)); diff != "" {
			t.Errorf("not the same again:\n%s", diff)
		}
	})
}
