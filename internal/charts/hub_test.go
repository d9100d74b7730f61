package charts_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
)

var (
	commandOfNotes = regexp.MustCompile(`(?m)^  (\S.*)$`)
	addressOfNotes = regexp.MustCompile(`--address (\S+)`)
)

// TestTheNotesOfTheHubLeadToItsAPI: the address is one that the certificate names and that the service has; where none is known, it is that of a
// tunnel, and no join token is made with it.
func TestTheNotesOfTheHubLeadToItsAPI(t *testing.T) {
	for _, c := range []struct {
		of               string
		args             []string
		address          string
		tunnel, asksPort bool
	}{
		{"defaults", nil, "https://127.0.0.1:7400", true, false},
		{"defaults", []string{"--set", "service.port=443"}, "https://127.0.0.1:7400", true, false},
		{"defaults", []string{"--set", "service.type=NodePort"}, "https://127.0.0.1:7400", true, false},
		{"defaults", []string{"--set", "service.type=LoadBalancer"}, "https://127.0.0.1:7400", true, false},
		{"defaults", []string{"--set-json", `config.api.hosts=["hub.example.com"]`}, "https://127.0.0.1:7400", true, false},
		{"nodeport", nil, "https://192.0.2.10:$PORT", false, true},
		{"nodeport", []string{"--set", "service.nodePort=30400"}, "https://192.0.2.10:30400", false, false},
		{"nodeport", []string{"--set-json", `config.api.hosts=["2001:db8::10","hub.example.com"]`, "--set", "service.nodePort=30400"}, "https://[2001:db8::10]:30400", false, false},
		{"balanced", nil, "https://hub.example.com:7400", false, false},
		{"balanced", []string{"--set", "service.port=443"}, "https://hub.example.com:443", false, false},
		{"node", nil, "https://192.0.2.10:7400", false, false},
		{"node", []string{"--set", "config.api.listen=0.0.0.0:8400"}, "https://192.0.2.10:8400", false, false},
		{"all", nil, "https://HOST:443", false, false},
		{"all", []string{"--set", "service.type=NodePort", "--set-json", "service.loadBalancerSourceRanges=[]"}, "https://HOST:$PORT", false, true},
		{"external", nil, "https://127.0.0.1:7400", true, false},
	} {
		notes := render(t, named(t, "nave-hub", c.of), c.args...).Notes
		var commands []string
		for _, m := range commandOfNotes.FindAllStringSubmatch(notes, -1) {
			commands = append(commands, m[1])
		}
		text := strings.Join(commands, "\n")
		if m := addressOfNotes.FindStringSubmatch(text); m == nil || m[1] != c.address {
			t.Errorf("%s %q: the address is %q, want %s", c.of, c.args, m, c.address)
		}
		if strings.Contains(text, " port-forward ") != c.tunnel || strings.Contains(text, "PORT=$(") != c.asksPort || strings.Contains(text, "clusters register") == c.tunnel ||
			strings.Contains(notes, "HOST is") != strings.Contains(c.address, "HOST") {
			t.Errorf("%s %q: the notes are\n%s", c.of, c.args, notes)
		}
		for _, want := range []string{"-- nave-hub admin-token > admin-token", "-- nave-hub ca > ca.pem", " logs ", " rollout status "} {
			if !strings.Contains(text, want) {
				t.Errorf("%s %q: no command with %q in the notes\n%s", c.of, c.args, want, notes)
			}
		}
	}
}

// TestServicesLeadToTheOneHub and not to pods that somebody's scaling makes.
func TestServicesLeadToTheOneHub(t *testing.T) {
	for _, what := range []string{"all", "nodeport"} {
		all := objects(t, render(t, named(t, "nave-hub", what)))
		set, services := stateful(t, all), 0
		for _, o := range all {
			if o.GetKind() != "Service" || strings.HasSuffix(o.GetName(), "-metrics") {
				continue
			}
			services++
			s := as[corev1.Service](t, o).Spec
			if got, want := s.Selector["statefulset.kubernetes.io/pod-name"], set.Name+"-0"; got != want {
				t.Errorf("%s: %s leads to %q, want %s", what, name(o), got, want)
			}
		}
		if want := map[string]int{"all": 1, "nodeport": 2}[what]; services != want {
			t.Errorf("%s: %d services, want %d", what, services, want)
		}
	}
}

// TestNothingHoldsUpADrain but a budget that somebody asks for.
func TestNothingHoldsUpADrain(t *testing.T) {
	for _, c := range []struct {
		of   string
		args []string
		want []int
	}{
		{"defaults", nil, nil},
		{"defaults", []string{"--set", "podDisruptionBudget.enabled=true"}, []int{1}},
		{"balanced", nil, []int{1}},
		{"all", nil, []int{0}},
	} {
		var got []int
		for _, o := range objects(t, render(t, named(t, "nave-hub", c.of), c.args...)) {
			if o.GetKind() == "PodDisruptionBudget" {
				got = append(got, as[policyv1.PodDisruptionBudget](t, o).Spec.MaxUnavailable.IntValue())
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s %q: budgets (-want +got):\n%s", c.of, c.args, diff)
		}
	}
}

// TestTheAPIHasTheNodePortsThatWereChosen, and none where none was.
func TestTheAPIHasTheNodePortsThatWereChosen(t *testing.T) {
	for of, want := range map[string][]int32{"defaults": {0, 0}, "nodeport": {0, 0}, "balanced": {31000, 31010}} {
		var got []int32
		for _, p := range as[corev1.Service](t, object(t, objects(t, render(t, named(t, "nave-hub", of))), "Service", "nave-hub")).Spec.Ports {
			got = append(got, p.NodePort)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", of, got, want)
		}
	}
}
