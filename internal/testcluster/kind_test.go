package testcluster

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A name of the hub comes before everything else that the first server of the cluster's DNS does.
func TestTheHubGetsANameInTheDNSOfKind(t *testing.T) {
	const before = ".:53 {\n    errors\n    kubernetes cluster.local in-addr.arpa {\n       pods insecure\n    }\n}\n"
	const want = ".:53 {\n    hosts {\n        172.18.0.1 hub.federation.test\n        fallthrough\n    }\n    errors\n    kubernetes cluster.local in-addr.arpa {\n       pods insecure\n    }\n}\n"
	got, err := withHost(before, netip.MustParseAddr("172.18.0.1"), HubName)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := withHost("nothing of the kind", netip.MustParseAddr("172.18.0.1"), HubName); err == nil {
		t.Error("a configuration without a server is taken")
	}
}

func TestAnUnknownBackendIsRefused(t *testing.T) {
	t.Setenv(BackendEnv, "minikube")
	if _, err := chooseBackend(t.Context()); err == nil {
		t.Error("minikube is taken for a backend")
	}
	t.Setenv(BackendEnv, BackendLocal)
	if b, err := chooseBackend(t.Context()); err != nil || b != BackendLocal {
		t.Errorf("backend %q, %v", b, err)
	}
}

func TestProcessesOfPodsInANodeOfKind(t *testing.T) {
	k := &kind{container: "0123456789ab"}
	for group, want := range map[string]bool{
		"0::/system.slice/docker-0123456789ab.scope/kubelet.slice/kubelet-kubepods.slice/x": true,
		"5:memory:/docker/0123456789ab/kubelet/kubepods/burstable/podx/y":                   true,
		"0::/system.slice/docker-0123456789ab.scope/system.slice/kubelet.service":           false,
		"0::/system.slice/docker-ba9876543210.scope/kubelet.slice/kubelet-kubepods.slice/x": false,
	} {
		if got := k.ofPods(group); got != want {
			t.Errorf("%s: %t, want %t", group, got, want)
		}
	}
}
