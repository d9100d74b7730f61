package charts_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// reached is how an embedded overlay is reached.
type reached struct {
	Listen, Advertise string
	Port              int              // the first that the hub advertises
	Ports, Nodes      []int32          // of the service
	Targets           map[string]int32 // of the pod, by the names that the service has
	Aliases           []corev1.HostAlias
}

// TestTheOverlayIsReachedByThePortsThatItAdvertises compares what the hub is told with its pod and its service: spokes dial what the hub advertises.
func TestTheOverlayIsReachedByThePortsThatItAdvertises(t *testing.T) {
	own := func(ip string) []corev1.HostAlias {
		return []corev1.HostAlias{{IP: ip, Hostnames: []string{"overlay.example.com"}}}
	}
	targets := func(first int32) map[string]int32 {
		return map[string]int32{"overlay": first, "router-1": first + 1, "router-2": first + 2}
	}
	for _, c := range []struct {
		of   string
		args []string
		want reached
	}{
		{"balanced", nil, reached{"0.0.0.0", "overlay.example.com", 7410, []int32{7410, 7411, 7412}, []int32{31001, 31002, 31003}, targets(7410), own("127.0.0.1")}},
		{"balanced", []string{"--set-json", "overlayService.nodePorts=[]", "--set", "config.overlay.listen=::1", "--set", "config.overlay.port=8443"},
			reached{"::1", "overlay.example.com", 8443, []int32{8443, 8444, 8445}, []int32{0, 0, 0}, targets(8443), own("::1")}},
		{"nodeport", nil, reached{"0.0.0.0", "192.0.2.10", 30410, []int32{30410, 30411, 30412}, []int32{30410, 30411, 30412}, targets(30410), nil}},
		{"nodeport", []string{"--set-json", "overlayService.nodePorts=[30410,30411,30412]", "--set", "config.overlay.listen=::", "--set", "config.overlay.advertise=2001:db8::10"},
			reached{"::", "2001:db8::10", 30410, []int32{30410, 30411, 30412}, []int32{30410, 30411, 30412}, targets(30410), nil}},
		{"node", []string{"--set", "config.overlay.port=7410"}, reached{"192.0.2.10", "", 7410, nil, nil, targets(7410), nil}},
		{"node", []string{"--set", "config.overlay.listen=", "--set", "config.overlay.advertise=overlay.example.com"},
			reached{"0.0.0.0", "overlay.example.com", 7410, nil, nil, targets(7410), own("127.0.0.1")}},
		{"defaults", nil, reached{}},
		{"external", nil, reached{}},
	} {
		all := objects(t, render(t, named(t, "nave-hub", c.of), c.args...))
		text, _, _ := unstructured.NestedString(object(t, all, "ConfigMap", "nave-hub").Object, "data", "hub.yaml")
		var config struct {
			Overlay struct {
				Listen, Advertise string
				Port              int
			}
		}
		if err := yaml.Unmarshal([]byte(text), &config); err != nil {
			t.Fatal(err)
		}
		pod := stateful(t, all).Spec.Template.Spec
		got := reached{Listen: config.Overlay.Listen, Advertise: config.Overlay.Advertise, Port: config.Overlay.Port, Aliases: pod.HostAliases}
		for _, p := range pod.Containers[0].Ports {
			if p.Name != "api" && p.Name != "grpc" && p.Name != "metrics" {
				if got.Targets == nil {
					got.Targets = map[string]int32{}
				}
				got.Targets[p.Name] = p.ContainerPort
			}
		}
		for _, o := range all {
			if o.GetKind() != "Service" || o.GetName() != "nave-hub-overlay" {
				continue
			}
			s := as[corev1.Service](t, o).Spec
			if !s.PublishNotReadyAddresses {
				t.Errorf("%s: a hub that is not ready does not reach its own overlay", c.of)
			}
			for _, p := range s.Ports {
				got.Ports, got.Nodes = append(got.Ports, p.Port), append(got.Nodes, p.NodePort)
				if p.TargetPort.StrVal != p.Name {
					t.Errorf("%s: port %s leads to %s", c.of, p.Name, p.TargetPort.String())
				}
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s %v (-want +got):\n%s", c.of, c.args, diff)
		}
	}
}
