package clusters

import (
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRequestsAreKnown(t *testing.T) {
	tests := []struct{ method, address, want, selector string }{
		{"GET", "/api/v1/namespaces/a/pods?labelSelector=x%3Dy", "list pods", "x=y"},
		{"GET", "/api/v1/namespaces/a/pods?labelSelector=x%3Dy&watch=true", "watch pods", "x=y"},
		{"GET", "/api/v1/pods", "list pods", ""},
		{"GET", "/api/v1/namespaces/a/pods/p", "get pods", ""},
		{"POST", "/api/v1/namespaces/a/pods", "create pods", ""},
		{"PATCH", "/api/v1/namespaces/a/pods/p/status", "patch pods/status", ""},
		{"DELETE", "/api/v1/namespaces/a/configmaps/c", "delete configmaps", ""},
		{"DELETE", "/api/v1/namespaces/a/configmaps", "deletecollection configmaps", ""},
		{"GET", "/api/v1/namespaces/kube-system", "get namespaces", ""},
		{"GET", "/apis/policy/v1/namespaces/a/poddisruptionbudgets", "list poddisruptionbudgets", ""},
		{"GET", "/openid/v1/jwks", "get /openid/v1/jwks", ""},
		{"GET", "/version", "get /version", ""},
	}
	for _, tt := range tests {
		u, err := url.Parse(tt.address)
		if err != nil {
			t.Fatal(err)
		}
		got := requestOf(tt.method, u)
		if is := got.verb + " " + got.resource; is != tt.want || got.selector != tt.selector {
			t.Errorf("%s %s is %q with selector %q, want %q with %q", tt.method, tt.address, is, got.selector, tt.want, tt.selector)
		}
	}
	all := []asked{{verb: "list", resource: "pods"}, {verb: "list", resource: "pods"}, {verb: "watch", resource: "pods", selector: "a=b"}, {verb: "get", resource: "pods"}}
	if d := cmp.Diff([]string{"list pods"}, unselected(all)); d != "" {
		t.Errorf("without a selector (-want +got):\n%s", d)
	}
	if d := cmp.Diff(map[string]int{"list pods": 2, "watch pods": 1, "get pods": 1}, kinds(all)); d != "" {
		t.Errorf("kinds (-want +got):\n%s", d)
	}
}
