package charts_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

var both = []string{"nave-spoke", "nave-hub"}

// open are the values below which names are the user's, or Kubernetes' own.
var open = []string{"settings.namespaces.organizations", "settings.flavors", "resources.requests", "resources.limits", "global"}

// schema is the part of a JSON schema that the charts use to say which values there are.
type schema struct {
	Description          string
	Ref                  string `json:"$ref"`
	Type                 any
	Properties           map[string]schema
	AdditionalProperties any
}

func readSchema(t *testing.T, chart string) schema {
	t.Helper()
	var s schema
	if err := json.Unmarshal([]byte(read(t, root, "charts", chart, "values.schema.json")), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// in lists the values that a schema describes, with what it says of each. Objects that let unknown values in are reported.
func (s schema) in(t *testing.T, path string, out map[string]string) {
	for name, p := range s.Properties {
		at := strings.TrimPrefix(path+"."+name, ".")
		out[at] = p.Description
		if slices.Contains(open, at) {
			continue
		}
		if p.Properties != nil && p.AdditionalProperties != false {
			t.Errorf("%s lets unknown values in", at)
		}
		p.in(t, at, out)
	}
}

// comments lists the values of values.yaml, with the comment above each.
func comments(n *yaml.Node, path string, out map[string]string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := strings.TrimPrefix(path+"."+key.Value, ".")
		var lines []string
		for line := range strings.Lines(key.HeadComment) {
			lines = append(lines, strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "#")))
		}
		out[at] = strings.Join(lines, " ")
		if value.Kind == yaml.MappingNode && !slices.Contains(open, at) {
			comments(value, at, out)
		}
	}
}

func values(t *testing.T, chart string) *yaml.Node {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(read(t, root, "charts", chart, "values.yaml")), &doc); err != nil {
		t.Fatal(err)
	}
	return doc.Content[0]
}

// TestEveryValueIsExplainedAndInTheSchema holds values.yaml and the schema to each other: the same values, with the same words.
func TestEveryValueIsExplainedAndInTheSchema(t *testing.T) {
	for _, chart := range both {
		described, commented := map[string]string{}, map[string]string{}
		s := readSchema(t, chart)
		if s.AdditionalProperties != false {
			t.Errorf("%s lets unknown values in", chart)
		}
		s.in(t, "", described)
		delete(described, "global") // of helm's own
		comments(values(t, chart), "", commented)
		if diff := cmp.Diff(commented, described); diff != "" {
			t.Errorf("%s (-values.yaml +schema):\n%s", chart, diff)
		}
		for _, at := range slices.Sorted(maps.Keys(commented)) {
			if text := commented[at]; len(text) < 5 || !strings.HasSuffix(text, ".") {
				t.Errorf("%s: the comment of %s is %q, want a sentence", chart, at, text)
			}
		}
		if len(commented) < 60 {
			t.Errorf("%s: %d values were seen, at least 60 are known to exist", chart, len(commented))
		}
	}
}

// TestWhatDoesNotFitIsRefused shows that the message names the value.
func TestWhatDoesNotFitIsRefused(t *testing.T) {
	for _, c := range []struct {
		chart string
		set   string // as for --set-json, several by semicolons
		want  []string
	}{
		{"nave-spoke", `foo=1`, []string{"at ''", "'foo' not allowed"}},
		{"nave-spoke", `service={"prt":7443}`, []string{"'/service'", "'prt' not allowed"}},
		{"nave-spoke", `settings={"flavors":{"small":{"cpus":1}}}`, []string{"/settings/flavors/small", "'cpus' not allowed"}},
		{"nave-spoke", `settings={"flavors":{"huge":{"cpu":"1","count":1}}}`, []string{"/settings/flavors/huge", "missing property 'memory'"}},
		{"nave-spoke", `settings={"flavors":{"small":{"cpu":"half"}}}`, []string{"/settings/flavors/small/cpu", "'half'"}},
		{"nave-spoke", `settings={"flavors":{"small":{"memory":0}}}`, []string{"/settings/flavors/small/memory"}},
		{"nave-spoke", `settings={"pods":{"user":0}}`, []string{"/settings/pods/user"}},
		{"nave-spoke", `settings={"networkPolicies":"on"}`, []string{"/settings/networkPolicies", "enforced"}},
		{"nave-spoke", `settings={"startLimit":"5"}`, []string{"/settings/startLimit", "'5'"}},
		{"nave-spoke", `settings={"namespaces":{"organizations":{"acme":"Acme"}}}`, []string{"/settings/namespaces/organizations/acme", "'Acme'"}},
		{"nave-spoke", `settings={"namespaces":{"organizations":{"acme":"place"}}}`, []string{"settings.namespaces.organizations.acme: place is the namespace of the spoke itself"}},
		{"nave-spoke", `settings={"namespaces":{"organizations":{"acme":"kube-system"}}}`, []string{"settings.namespaces.organizations.acme: kube-system belongs to Kubernetes"}},
		{"nave-spoke", `settings={"namespaces":{"organizations":{"acme":"default"}}}`, []string{"settings.namespaces.organizations.acme: default belongs to Kubernetes"}},
		{"nave-spoke", `settings={"namespaces":{"organizations":{"acme":"nave-default"}}}`, []string{"nave-default is the namespace of acme too"}},
		{"nave-spoke", `settings={"namespaces":{"organizations":{"default":null}}}`, []string{"settings.namespaces: there is no organization and manage is off"}},
		{"nave-spoke", `settings={"egress":["0.0.0.0/0"]}`, []string{"cluster.apiServer: is empty"}},
		{"nave-spoke", `settings={"egress":["0.0.0.0/0"],"namespaces":{"manage":true}}`, []string{"cluster.apiServer: is empty", "endpointslice/kubernetes"}},
		{"nave-spoke", `settings={"egress":["example.com"]}`, []string{"/settings/egress/0", "'example.com'"}},
		{"nave-spoke", `joinToken={"value":"a","existingSecret":"b"}`, []string{"joinToken: value and existingSecret are both given"}},
		{"nave-spoke", `podDisruptionBudget={"maxUnavailable":2}`, []string{"/podDisruptionBudget/maxUnavailable"}},
		{"nave-spoke", `image={"digest":"latest"}`, []string{"/image/digest", "'latest'"}},
		{"nave-spoke", `service={"port":443}`, []string{"/service/port", "1,024"}},
		{"nave-hub", `foo=1`, []string{"'foo' not allowed"}},
		{"nave-hub", `config={"api":{"lisen":"0.0.0.0:1"}}`, []string{"/config/api", "'lisen' not allowed"}},
		{"nave-hub", `config={"etcd":{"password":"x"}}`, []string{"/config/etcd", "'password' not allowed"}},
		{"nave-hub", `config={"lease":10}`, []string{"/config/lease", "want string"}},
		{"nave-hub", `config={"limits":{"burst":0}}`, []string{"/config/limits/burst", "want 1"}},
		{"nave-hub", `config={"data_dir":"/data"}`, []string{"/config/data_dir"}},
		{"nave-hub", `config={"metrics":{"listen":""}}`, []string{"/config/metrics/listen"}},
		{"nave-hub", `config={"archive":{"postgresql":{"dsn":"postgres://nave:hush@db/nave"}}}`, []string{"config.archive.postgresql.dsn: holds a password"}},
		{"nave-hub", `config={"archive":{"postgresql":{"dsn":"host=db password=hush"}}}`, []string{"config.archive.postgresql.dsn: holds a password"}},
		{"nave-hub", `config={"etcd":{"password_file":"/x"}};secrets={"etcdPassword":{"existingSecret":"s"}}`, []string{"secrets.etcdPassword: config.etcd.password_file is given too"}},
		{"nave-hub", `config={"api":{"hosts":["a"]}};secrets={"apiTLS":{"existingSecret":"s"}}`, []string{"config.api.hosts: is for certificates of the hub's own authority"}},
		{"nave-hub", `config={"overlay":{"listen":"192.0.2.10"}}`, []string{"config.overlay.listen: no pod keeps an address"}},
		{"nave-hub", `hostNetwork={"enabled":true}`, []string{"config.overlay.listen: is loopback"}},
		{"nave-hub", `hostNetwork={"enabled":true};config={"overlay":{"listen":"192.0.2.10"}}`, []string{"nodeSelector: is empty"}},
		{"nave-hub", `hostNetwork={"enabled":true};config={"overlay":{"advertise":"hub.example.com"}}`, []string{"nodeSelector: is empty"}},
		{"nave-hub", `config={"overlay":{"listen":"0.0.0.0"}}`, []string{"config.overlay.listen: no pod keeps an address"}},
		{"nave-hub", `config={"overlay":{"advertise":"hub.example.com","listen":"192.0.2.10"}}`, []string{"config.overlay.listen: is 192.0.2.10: with config.overlay.advertise"}},
		{"nave-hub", `config={"overlay":{"advertise":"Hub.example.com"}}`, []string{"/config/overlay/advertise", "'Hub.example.com'"}},
		{"nave-hub", `config={"overlay":{"port":65532}}`, []string{"/config/overlay/port"}},
		{"nave-hub", `config={"overlay":{"advertise":"hub.example.com","port":7398}}`, []string{"config.overlay.port: 7398 and the four behind it are the overlay's, and config.", "has 740"}},
		{"nave-hub", `config={"overlay":{"advertise":"hub.example.com","controller":"https://ziti.example.com:1280"}}`, []string{"config.overlay.advertise: is for the embedded overlay"}},
		{"nave-hub", `config={"overlay":{"advertise":"hub.example.com"}};overlayService={"type":"NodePort"}`, []string{"config.overlay.port: is missing", "such as 30410"}},
		{"nave-hub", `config={"overlay":{"advertise":"hub.example.com","port":30410}};overlayService={"type":"NodePort","nodePorts":[30410,30412,30411]}`,
			[]string{"overlayService.nodePorts: has 30412 in place 2, and the hub advertises 30411"}},
		{"nave-hub", `config={"overlay":{"advertise":"hub.example.com"}};overlayService={"type":"LoadBalancer","nodePorts":[30410]}`, []string{"overlayService.nodePorts: has 1 ports, want three"}},
		{"nave-hub", `config={"overlay":{"advertise":"hub.example.com"}};overlayService={"nodePorts":[30410,30411,30412]}`, []string{"overlayService.nodePorts: a service of type ClusterIP has none"}},
		{"nave-hub", `overlayService={"type":"NodePort","nodePorts":[30410,30411,30412]}`, []string{"overlayService.nodePorts: there is no such service without config.overlay.advertise"}},
		{"nave-hub", `probes={"liveness":{"periodSeconds":0}}`, []string{"/probes/liveness/periodSeconds", "want 1"}},
		{"nave-hub", `replicas=2`, []string{"'replicas' not allowed"}},
		{"nave-hub", `service={"type":"NodePort","nodePort":29999}`, []string{"/service/nodePort", "30,000"}},
		{"nave-hub", `service={"type":"NodePort","grpcNodePort":32768}`, []string{"/service/grpcNodePort", "32,767"}},
		{"nave-hub", `service={"nodePort":30400}`, []string{"service.nodePort: a service of type ClusterIP has none: leave it out, or set service.type"}},
		{"nave-hub", `service={"grpcNodePort":30401}`, []string{"service.grpcNodePort: a service of type ClusterIP has none"}},
		{"nave-hub", `service={"type":"NodePort","nodePort":30400,"grpcNodePort":30400}`, []string{"service.grpcNodePort: 30400 is a port of service.nodePort: choose another"}},
		{"nave-hub", `service={"type":"NodePort","nodePort":30411};config={"overlay":{"advertise":"hub.example.com","port":30410}};overlayService={"type":"NodePort"}`,
			[]string{"service.nodePort: 30411 is a port of the overlay's service: choose another"}},
		{"nave-hub", `config={"api":{"admin_token_file":"/x"}};secrets={"adminToken":{"existingSecret":"s"}}`, []string{"secrets.adminToken: config.api.admin_token_file is given too"}},
		{"nave-hub", `podDisruptionBudget={"enabled":true,"maxUnavailable":2}`, []string{"/podDisruptionBudget/maxUnavailable"}},
		{"nave-spoke", `hostAliases=[{"ip":"192.0.2.10"}]`, []string{"/hostAliases/0", "missing property 'hostnames'"}},
		{"nave-hub", `hostNetwork={"enabled":true};config={"overlay":{"controller":"https://ziti.example.com:1280"}}`, []string{"hostNetwork.enabled: is for the embedded overlay"}},
	} {
		t.Run(c.chart+" "+c.set, func(t *testing.T) {
			var args []string
			for _, set := range strings.Split(c.set, ";") {
				args = append(args, "--set-json", set)
			}
			said := refused(t, c.chart, args...)
			for _, want := range c.want {
				if !strings.Contains(said, want) {
					t.Errorf("refused with %q, want %q in it", said, want)
				}
			}
			if strings.Contains(said, "hush") {
				t.Errorf("the message repeats the password: %s", said)
			}
		})
	}
}

var documentedField = regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\|[^|]*\\|[^|]*\\|\\s*([^|]*?)\\s*\\|")

// own are fields that the chart gives a value of its own: those of a hub in a pod.
var own = map[string]string{"data_dir": "/var/lib/nave-hub/data", "api.listen": "0.0.0.0:7400", "api.grpc_listen": "0.0.0.0:7401",
	"metrics.listen": "0.0.0.0:7402", "log.format": "json", "overlay.listen": "", "overlay.port": "0"}

// TestTheHubsConfigurationIsWhole holds config of the hub's chart to docs/configuration.md: every field, with the program's default.
func TestTheHubsConfigurationIsWhole(t *testing.T) {
	want := map[string]string{}
	for _, m := range documentedField.FindAllStringSubmatch(read(t, root, "docs", "configuration.md"), -1) {
		field, value := m[1], ""
		if quoted, ok := strings.CutPrefix(m[2], "`"); ok && strings.HasSuffix(quoted, "`") {
			value = strings.TrimSuffix(quoted, "`")
		}
		if v, ok := own[field]; ok {
			value = v
		}
		want[field] = value
	}
	got := map[string]string{}
	var leaves func(n *yaml.Node, path string)
	leaves = func(n *yaml.Node, path string) {
		for i := 0; i+1 < len(n.Content); i += 2 {
			at := strings.TrimPrefix(path+"."+n.Content[i].Value, ".")
			switch v := n.Content[i+1]; v.Kind {
			case yaml.MappingNode:
				leaves(v, at)
			case yaml.SequenceNode:
				got[at] = ""
			default:
				got[at] = v.Value
			}
		}
	}
	for all, i := values(t, "nave-hub"), 0; i+1 < len(all.Content); i += 2 {
		if all.Content[i].Value == "config" {
			leaves(all.Content[i+1], "")
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config of charts/nave-hub/values.yaml (-documented +chart):\n%s", diff)
	}
	if len(want) < 35 {
		t.Errorf("%d fields were seen in the documentation, at least 35 are known to exist", len(want))
	}
}

// TestTheChartsHaveTheSameShape: who knows the values of one knows those of the other.
func TestTheChartsHaveTheSameShape(t *testing.T) {
	files := map[string][]string{}
	for _, chart := range both {
		entries, err := os.ReadDir(filepath.Join(root, "charts", chart))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			files[chart] = append(files[chart], e.Name())
		}
	}
	if diff := cmp.Diff(files["nave-spoke"], files["nave-hub"]); diff != "" {
		t.Errorf("files (-nave-spoke +nave-hub):\n%s", diff)
	}
	spoke, hub := readSchema(t, "nave-spoke"), readSchema(t, "nave-hub")
	for name, s := range spoke.Properties {
		h, ok := hub.Properties[name]
		if ok && name != "service" && (cmp.Diff(s.Type, h.Type) != "" || s.Ref != h.Ref) {
			t.Errorf("%s has another form in the other chart", name)
		}
	}
}
