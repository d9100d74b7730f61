package charts_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/nave-dev/nave/internal/charts"
	"github.com/nave-dev/nave/spoke/kube/tenant"
)

// as is an object in its own type. A field that the type does not have is a failure.
func as[T any](t testing.TB, o *unstructured.Unstructured) *T {
	t.Helper()
	out := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, out, true); err != nil {
		t.Fatalf("%s: %v", name(o), err)
	}
	return out
}

func named(t *testing.T, chart, what string) charts.Case {
	t.Helper()
	for _, c := range charts.Cases() {
		if c.Chart == chart && c.Name == what {
			return c
		}
	}
	t.Fatalf("no case %s of %s", what, chart)
	return charts.Case{}
}

// stateful is the one stateful set of a rendering.
func stateful(t testing.TB, all []*unstructured.Unstructured) *appsv1.StatefulSet {
	t.Helper()
	i := slices.IndexFunc(all, func(o *unstructured.Unstructured) bool { return o.GetKind() == "StatefulSet" })
	if i < 0 {
		t.Fatal("there is no stateful set")
	}
	return as[appsv1.StatefulSet](t, all[i])
}

// TestThePodsAreRestricted looks at every pod for what the restricted standard and the images ask for.
func TestThePodsAreRestricted(t *testing.T) {
	for _, c := range charts.Cases() {
		set := stateful(t, objects(t, render(t, c)))
		pod := set.Spec.Template.Spec
		p, s := pod.SecurityContext, pod.Containers[0].SecurityContext
		if !*p.RunAsNonRoot || *p.RunAsUser != 65532 || *p.FSGroup != 65532 || p.SeccompProfile.Type != "RuntimeDefault" || *s.AllowPrivilegeEscalation ||
			!*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
			t.Errorf("%s: %+v, %+v", c, p, s)
		}
		if pod.HostNetwork != c.Open {
			t.Errorf("%s: host network is %t", c, pod.HostNetwork)
		}
		if *set.Spec.Replicas != 1 || set.Spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted != "Retain" || set.Spec.PersistentVolumeClaimRetentionPolicy.WhenScaled != "Retain" {
			t.Errorf("%s: %d replicas, claims: %+v", c, *set.Spec.Replicas, set.Spec.PersistentVolumeClaimRetentionPolicy)
		}
		writable := map[string]bool{}
		for _, m := range pod.Containers[0].VolumeMounts {
			writable[m.MountPath] = !m.ReadOnly
		}
		if !writable["/tmp"] || writable["/etc/nave"] {
			t.Errorf("%s: writable are %v", c, writable)
		}
		if (c.Chart == "nave-hub") == *pod.AutomountServiceAccountToken {
			t.Errorf("%s: its token is mounted: %t", c, *pod.AutomountServiceAccountToken)
		}
	}
}

// TestASecretIsInASecretAlone: no specification of a pod, no settings, no note says the join token.
func TestASecretIsInASecretAlone(t *testing.T) {
	const token = "nave-join-0123456789"
	r := render(t, named(t, "nave-spoke", "all"), "--set", "joinToken.value="+token)
	if strings.Contains(r.Notes, token) {
		t.Error("the notes say the token")
	}
	holders := 0
	for _, o := range objects(t, r) {
		text, err := o.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), token) {
			t.Errorf("%s says the token", name(o))
		}
		if o.GetKind() == "Secret" {
			holders++
			if data, _, _ := unstructured.NestedStringMap(o.Object, "data"); data["join"] != "bmF2ZS1qb2luLTAxMjM0NTY3ODk=" {
				t.Errorf("the secret holds %v", data)
			}
		}
	}
	if holders != 1 {
		t.Errorf("%d secrets, want one", holders)
	}
	for _, o := range objects(t, render(t, named(t, "nave-spoke", "manage"))) {
		if o.GetKind() == "Secret" {
			t.Errorf("a secret of somebody else's is written: %s", name(o))
		}
	}
}

// TestASpokeHasNoRightInTheWholeCluster but where it manages namespaces.
func TestASpokeHasNoRightInTheWholeCluster(t *testing.T) {
	for _, c := range charts.Cases() {
		var wide []string
		for _, o := range objects(t, render(t, c)) {
			if o.GetNamespace() == "" && o.GetKind() != "Namespace" {
				wide = append(wide, name(o))
			}
		}
		want := []string(nil)
		if c.String() == "nave-spoke-manage" {
			want = []string{"ClusterRole /nave-spoke-nave-system", "ClusterRole /nave-spoke-sessions", "ClusterRole /nave-spoke-tenant", "ClusterRoleBinding /nave-spoke-nave-system",
				"ValidatingAdmissionPolicy /nave-spoke-nave-system", "ValidatingAdmissionPolicyBinding /nave-spoke-nave-system"}
		}
		slices.Sort(wide)
		if diff := cmp.Diff(want, wide); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c, diff)
		}
	}
}

// TestUninstallKeepsWhatSessionsNeed: helm keeps what has the annotation. Rights go, so that a spoke that is gone can do nothing.
func TestUninstallKeepsWhatSessionsNeed(t *testing.T) {
	for _, what := range []string{"defaults", "all", "manage"} {
		c := named(t, "nave-spoke", what)
		inSessions := 0
		for _, o := range objects(t, render(t, c)) {
			kept := o.GetAnnotations()["helm.sh/resource-policy"] == "keep"
			sessions := o.GetKind() == "Namespace" || o.GetNamespace() != "" && o.GetNamespace() != c.Namespace && o.GetNamespace() != "kube-system"
			rights := strings.HasPrefix(o.GetKind(), "Role")
			if want := sessions && !rights; kept != want {
				t.Errorf("%s: %s is kept: %t, want %t", c, name(o), kept, want)
			}
			if sessions {
				inSessions++
			}
		}
		if inSessions < 7 {
			t.Errorf("%s: %d objects belong to sessions, at least 7 are known to", c, inSessions)
		}
	}
}

// TestOtherSettingsRestartTheSpokeAlone: of two renderings with other settings only the settings and the spoke's pod differ.
func TestOtherSettingsRestartTheSpokeAlone(t *testing.T) {
	for _, c := range []struct {
		chart, set string
		want       []string
	}{
		{"nave-spoke", "settings.startLimit=7m", []string{"ConfigMap nave-system/nave-spoke", "StatefulSet nave-system/nave-spoke"}},
		{"nave-spoke", "joinToken.existingSecret=another", []string{"StatefulSet nave-system/nave-spoke"}},
		{"nave-spoke", "sessions.quota.pods=7", []string{"ResourceQuota nave-default/nave-session"}},
		{"nave-hub", "config.lease=5s", []string{"ConfigMap nave-hub/nave-hub", "StatefulSet nave-hub/nave-hub"}},
		{"nave-hub", "service.type=NodePort", []string{"Service nave-hub/nave-hub"}},
		{"nave-hub", "secrets.adminToken.existingSecret=another", []string{"ConfigMap nave-hub/nave-hub", "StatefulSet nave-hub/nave-hub"}},
	} {
		of := named(t, c.chart, "defaults")
		before := map[string]*unstructured.Unstructured{}
		for _, o := range objects(t, render(t, of)) {
			before[name(o)] = o
		}
		var differ []string
		after := objects(t, render(t, of, "--set", c.set))
		for _, o := range after {
			if !cmp.Equal(before[name(o)], o) {
				differ = append(differ, name(o))
			}
		}
		slices.Sort(differ)
		if diff := cmp.Diff(c.want, differ); diff != "" || len(after) != len(before) {
			t.Errorf("%s, %s: %d objects, then %d (-want +got):\n%s", c.chart, c.set, len(before), len(after), diff)
		}
	}
}

// TestSessionsReachTheirSpokeWithoutItsHub: a spoke that is not ready must stay in its service (P6).
func TestSessionsReachTheirSpokeWithoutItsHub(t *testing.T) {
	all := objects(t, render(t, named(t, "nave-spoke", "defaults")))
	service := object(t, all, "Service", "nave-spoke")
	if yes, _, _ := unstructured.NestedBool(service.Object, "spec", "publishNotReadyAddresses"); !yes {
		t.Error("a spoke without its hub is taken out of its service")
	}
	settings, _, _ := unstructured.NestedString(object(t, all, "ConfigMap", "nave-spoke").Object, "data", "kubernetes.yaml")
	if !strings.Contains(settings, "service: nave-spoke.nave-system.svc:7443\n") {
		t.Errorf("sessions are told another address:\n%s", settings)
	}
}

// TestEgressLeavesOutWhatNoSessionMayReach compares the templates' arithmetic with the one of net/netip.
func TestEgressLeavesOutWhatNoSessionMayReach(t *testing.T) {
	excluded := []string{"10.96.0.1/32", "192.0.2.4/32", "10.244.0.0/16", "172.16.0.0/12", "fd00:1::1/128"}
	for _, never := range tenant.Never {
		excluded = append(excluded, never.String())
	}
	for _, cidr := range []string{"0.0.0.0/0", "128.0.0.0/1", "10.0.0.0/8", "10.96.0.0/12", "10.96.0.0/31", "192.0.0.0/8", "192.0.2.0/24", "192.0.2.5/32", "169.0.0.0/8", "168.0.0.0/7", "8.8.8.8/32", "::/0", "2001:db8::/32"} {
		r := render(t, named(t, "nave-spoke", "defaults"), "--set-json", `settings.egress=["`+cidr+`"]`,
			"--set-json", `cluster={"apiServer":["10.96.0.1/32","192.0.2.4/32"],"ranges":["10.244.0.0/16","172.16.0.0/12","fd00:1::1/128"]}`)
		policy := as[networkingv1.NetworkPolicy](t, object(t, objects(t, r), "NetworkPolicy", "allow-egress"))
		outer := netip.MustParsePrefix(cidr)
		var want []string
		for _, e := range excluded {
			if inner := netip.MustParsePrefix(e); outer.Overlaps(inner) && outer.Bits() < inner.Bits() {
				want = append(want, e)
			}
		}
		block := policy.Spec.Egress[0].To[0].IPBlock
		if block.CIDR != cidr || cmp.Diff(want, block.Except) != "" {
			t.Errorf("%s: %s without %v, want %v", cidr, block.CIDR, block.Except, want)
		}
	}
	for cidr, want := range map[string]string{
		"10.96.0.1/32":     "settings.egress: 10.96.0.1/32 lies in 10.96.0.1/32, which no session may reach",
		"169.254.169.0/24": "settings.egress: 169.254.169.0/24 lies in 169.254.0.0/16, which no session may reach",
		"10.0.0.1/8":       "10.0.0.1/8 is no network",
		"fd00::/8":         "settings.egress: fd00::/8: of IPv6 use ::/0 or a range in 2000::/3",
	} {
		said := refused(t, "nave-spoke", "--set-json", `settings.egress=["`+cidr+`"]`, "--set-json", `cluster.apiServer=["10.96.0.1/32"]`)
		if !strings.Contains(said, want) {
			t.Errorf("%s: refused with %q, want %q in it", cidr, said, want)
		}
	}
}

// TestNamesAndLabelsAreGood for versions and names of releases that are long or have signs that labels and tags cannot have.
func TestNamesAndLabelsAreGood(t *testing.T) {
	for _, chart := range both {
		for _, release := range []string{"x", "a-release-with-a-name-that-is-as-long-as-helm-lets-it"} {
			c := named(t, chart, "defaults")
			c.Release = release
			for _, o := range objects(t, render(t, c)) {
				if problems := validation.IsDNS1123Subdomain(o.GetName()); len(problems) > 0 || len(o.GetName()) > 63 {
					t.Errorf("%s: %v", name(o), problems)
				}
				for key, value := range o.GetLabels() {
					if problems := append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...); len(problems) > 0 {
						t.Errorf("%s: label %s: %q: %v", name(o), key, value, problems)
					}
				}
			}
		}
	}
}
