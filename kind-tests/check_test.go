//go:build kindtests

package kindtests

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/nave-dev/nave/internal/federation"
	"github.com/nave-dev/nave/internal/testcluster"
)

// kubeconfigOf writes the access of a service account.
func (w *federated) kubeconfigOf(c *testcluster.Cluster, namespace, account string) string {
	w.t.Helper()
	seconds := int64(3600)
	token, err := c.Client.CoreV1().ServiceAccounts(namespace).CreateToken(w.ctx, account, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}, metav1.CreateOptions{})
	w.must(err)
	authority := c.Rest.CAData
	if len(authority) == 0 {
		authority, err = os.ReadFile(c.Rest.CAFile)
		w.must(err)
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: c.Rest.Host, CertificateAuthorityData: authority}
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u", Namespace: namespace}
	config.CurrentContext = "x"
	file := filepath.Join(w.t.TempDir(), "kubeconfig")
	w.must(clientcmd.WriteToFile(*config, file))
	return file
}

// TestTheCheckOfAClusterSaysWhatIsMissing asks a real API server, with the spoke's own access, while an operator makes one thing after
// the other. No node is needed.
func TestTheCheckOfAClusterSaysWhatIsMissing(t *testing.T) {
	ctx := limited(t)
	bed, err := testcluster.StartControlPlane(ctx, testcluster.Config{Bin: programs(ctx, t), Log: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, bed) })
	c := bed.Clusters[0]
	w := &federated{t: t, ctx: ctx, bed: bed}
	_, err = c.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespaceOfSpoke}}, metav1.CreateOptions{})
	w.must(err)
	_, err = c.Client.CoreV1().ServiceAccounts(namespaceOfSpoke).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: spokeName}}, metav1.CreateOptions{})
	w.must(err)
	settings := filepath.Join(t.TempDir(), "settings.yaml")
	w.must(os.WriteFile(settings, w.settings("nave-spoke.nave-system.svc:7443"), 0o600))
	access := w.kubeconfigOf(c, namespaceOfSpoke, spokeName)
	check := func(ctx context.Context) (code int, says string) {
		program, err := filepath.Abs(filepath.Join("..", "bin", "nave-spoke"))
		w.must(err)
		cmd := exec.CommandContext(ctx, program, "check", "--runtime", "kubernetes", "--kubernetes", settings, "--kubeconfig", access)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err = cmd.Run()
		var ended *exec.ExitError
		if err != nil && !errors.As(err, &ended) {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), out.String()
	}
	find := func(want int, what ...string) {
		t.Helper()
		limit, cancel := context.WithTimeout(ctx, waitLimit/2)
		defer cancel()
		var code int
		var says string
		if err := federation.Await(limit, "the check ends as it should", func() (bool, error) { // rights are known a moment after they are given
			code, says = check(ctx)
			return code == want && saysAll(says, what), nil
		}); err != nil {
			t.Fatalf("%v: exit code %d, want %d and %q:\n%s", err, code, want, what, says)
		}
		t.Logf("exit code %d:\n%s", code, says)
	}
	find(1, "a Role in kube-system that may get namespaces", "missing: namespace nave-default: the spoke has no right here")
	w.fingerprintRights(c)
	find(1, "good: the fingerprint of the cluster", "missing: namespace nave-default: the spoke has no right here")
	w.furnishOrganization(c)
	find(0, "good: the fingerprint of the cluster", "good: the keys that tokens of harnesses are signed with", "unknown: namespace nave-default: nobody says that network policies are enforced")
	text, err := os.ReadFile(settings)
	w.must(err)
	w.must(os.WriteFile(settings, append(text, "network_policies: enforced\n"...), 0o600))
	find(0, "good: namespace nave-default of organization default")
	w.must(c.Client.CoreV1().ServiceAccounts(namespaceOfOrg).Delete(ctx, "nave-session", metav1.DeleteOptions{}))
	find(1, "missing: namespace nave-default: there is no service account nave-session")
	w.must(os.WriteFile(settings, []byte(strings.Replace(string(text), "namespaces: {", "namespaces: {manage: true, ", 1)), 0o600))
	find(1, "missing: namespace nave-...: the spoke may not bind clusterroles.rbac.authorization.k8s.io")
}
