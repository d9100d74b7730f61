package tenant_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"sigs.k8s.io/yaml"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/nave-dev/nave/spoke/kube/tenant"
)

// TestObjects compares what is rendered with testdata, which `go test -rewrite` writes.
func TestObjects(t *testing.T) {
	datadriven.Walk(t, "testdata/objects", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var objects []runtime.Object
			var err error
			switch d.Cmd {
			case "objects":
				s := spec()
				if d.HasArg("manage") {
					s.Manage = true
				}
				if d.HasArg("least") {
					s.Quota, s.Limits, s.EgressCIDRs, s.ClusterCIDRs, s.APIServers = tenant.Quota{}, tenant.Limits{}, nil, nil, nil
				}
				objects, err = tenant.Objects(s)
			case "cluster":
				objects, err = tenant.ClusterObjects(tenant.Managing{Name: "nave-spoke-east", SpokeNamespace: "nave-system", SpokeServiceAccount: "nave-spoke", Prefix: "nave-"})
			default:
				t.Fatalf("unknown command %s", d.Cmd)
			}
			if err != nil {
				t.Fatal(err)
			}
			return render(t, objects)
		})
	})
}

func render(t *testing.T, objects []runtime.Object) string {
	t.Helper()
	var out bytes.Buffer
	for i, o := range objects {
		text, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			out.WriteString("---\n")
		}
		for line := range strings.Lines(string(text)) {
			if s := strings.TrimSpace(line); s != "creationTimestamp: null" && s != "status: {}" {
				out.WriteString(line)
			}
		}
	}
	return out.String()
}
