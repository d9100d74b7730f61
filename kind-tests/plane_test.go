//go:build kindtests

package kindtests

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/nave-dev/nave/internal/testcluster"
)

// The names of a spoke and its sessions in these tests.
const (
	spokeNamespace = "nave-system"
	spokeAccount   = "nave-spoke"
	sessionAccount = "nave-session"
)

// plane is an API server alone.
type plane struct {
	*testcluster.Cluster
	bed  *testcluster.Bed
	args []string // of the API server
}

// controlPlane brings up an etcd and an API server for one test.
func controlPlane(ctx context.Context, t testing.TB) *plane {
	t.Helper()
	bed, err := testcluster.StartControlPlane(ctx, testcluster.Config{Bin: programs(ctx, t), Log: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, bed) })
	return &plane{Cluster: bed.Clusters[0], bed: bed}
}

// namespace makes a namespace and service accounts in it.
func (p *plane) namespace(ctx context.Context, t testing.TB, name string, accounts ...string) {
	t.Helper()
	if _, err := p.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, account := range accounts {
		if _, err := p.Client.CoreV1().ServiceAccounts(name).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// token gets a token of a service account for ten minutes, which is the least that an API server gives.
func (p *plane) token(ctx context.Context, t testing.TB, namespace, account string, spec authenticationv1.TokenRequestSpec) string {
	t.Helper()
	seconds := int64(600)
	spec.ExpirationSeconds = &seconds
	r, err := p.Client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, &authenticationv1.TokenRequest{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r.Status.Token
}

// as is the access of a service account, by a token of its own.
func (p *plane) as(ctx context.Context, t testing.TB, namespace, account string) *rest.Config {
	t.Helper()
	c := rest.AnonymousClientConfig(p.Rest)
	c.BearerToken = p.token(ctx, t, namespace, account, authenticationv1.TokenRequestSpec{})
	c.QPS, c.Burst = 500, 1000
	return c
}

// pki is the path of a file of the cluster's keys.
func (p *plane) pki(file string) string { return filepath.Join(p.Dir, "pki", file) }

// process finds the API server among the processes of the bed.
func (p *plane) process(t testing.TB) (pid int, args []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		env, err := os.ReadFile(file)
		if err != nil || !slices.Contains(strings.Split(string(env), "\x00"), testcluster.BedEnv+"="+p.bed.ID) {
			continue // another's, or gone
		}
		line, err := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		if err != nil {
			continue
		}
		args := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
		if filepath.Base(args[0]) == "kube-apiserver" {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			if err != nil {
				t.Fatal(err)
			}
			return pid, args
		}
	}
	t.Fatal("the bed has no API server")
	return 0, nil
}

// kill ends the API server as a crash does.
func (p *plane) kill(ctx context.Context, t testing.TB) {
	t.Helper()
	var pid int
	pid, p.args = p.process(t)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, "the API server is gone", func() bool { return !p.ready(ctx) })
}

// revive starts the API server again that was killed, with changed arguments, as a process of the test.
func (p *plane) revive(ctx context.Context, t testing.TB, change func(args []string) []string) {
	t.Helper()
	args := change(slices.Clone(p.args))
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = p.Dir
	cmd.Env = append(os.Environ(), testcluster.BedEnv+"="+p.bed.ID, "HOME="+p.Dir, "TMPDIR="+p.Dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // before the bed stops
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("end of the log of the second API server:\n%s", out.Bytes()[max(0, out.Len()-2000):])
		}
	})
	await(ctx, t, "the API server is back", func() bool { return p.ready(ctx) })
}

func (p *plane) ready(ctx context.Context) bool {
	_, err := p.Client.RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
	return err == nil
}

// restrictedPod is one that every standard allows. Nobody runs it.
func restrictedPod(namespace, name string) *corev1.Pod {
	p := probe(name, fmt.Sprintf("http://%s.invalid/", name))
	p.Namespace, p.Spec.ServiceAccountName = namespace, sessionAccount
	return p
}
