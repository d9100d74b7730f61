//go:build kindtests

package kindtests

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke/kube/tenant"
)

// asked counts what is asked of an API server, by method and path.
type asked struct {
	next http.RoundTripper
	mu   sync.Mutex
	of   map[string]int
}

// RoundTrip implements [http.RoundTripper].
func (a *asked) RoundTrip(r *http.Request) (*http.Response, error) {
	a.mu.Lock()
	a.of[r.Method+" "+r.URL.Path]++
	a.mu.Unlock()
	return a.next.RoundTrip(r)
}

// count is how often it was asked, by the whole of it or its method alone.
func (a *asked) count(what string) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for key, of := range a.of {
		if method, _, _ := strings.Cut(key, " "); key == what || method == what {
			n += of
		}
	}
	return n
}

// forget begins anew.
func (a *asked) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.of = map[string]int{}
}

// said is a log that a test reads.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements [io.Writer].
func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

// lines are those that have all of the words.
func (s *said) lines(words ...string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for line := range strings.Lines(s.text.String()) {
		if saysAll(line, words) {
			out = append(out, line)
		}
	}
	return out
}

// care is a caretaker that runs, with the spoke's own token.
type care struct {
	*tenant.Caretaker
	keeper *tenant.Keeper
	log    *said
	asked  *asked
}

// careful starts a caretaker of namespaces as s says, with the organization and the namespace of each.
func (p *tenants) careful(ctx context.Context, t *testing.T, s tenant.Spec, every time.Duration) *care {
	t.Helper()
	c := &care{log: &said{}, asked: &asked{of: map[string]int{}}}
	own := p.as(ctx, t, spokeNamespace, spokeAccount)
	own.Wrap(func(next http.RoundTripper) http.RoundTripper { c.asked.next = next; return c.asked })
	log := slog.New(slog.NewTextHandler(c.log, nil))
	var err error
	if c.keeper, err = tenant.New(tenant.Config{Rest: rest.CopyConfig(own), Log: log}); err != nil {
		t.Fatal(err)
	}
	if c.Caretaker, err = tenant.NewCaretaker(tenant.CaretakerConfig{Keeper: c.keeper, Cluster: s.Cluster, Log: log, Every: every,
		Spec: func(org api.OrgID, namespace string) (tenant.Spec, error) {
			s := s
			s.Organization, s.Namespace = org, namespace
			return s, nil
		}}); err != nil {
		t.Fatal(err)
	}
	g := run.NewGroup(ctx)
	g.Go("caretaker", c.Run)
	t.Cleanup(func() {
		g.Stop()
		_ = g.Wait()
		if t.Failed() {
			t.Logf("the caretaker said:\n%s", c.log.text.String())
		}
	})
	return c
}

// rounds waits for five of them, of one list and one question for each of eleven objects.
func (c *care) rounds(ctx context.Context, t *testing.T) {
	t.Helper()
	lists := 0
	await(ctx, t, "some rounds have passed", func() bool {
		lists = c.asked.count("GET /api/v1/namespaces")
		return lists >= 5
	})
	t.Logf("%d rounds", lists)
}

// TestWhatIsTakenFromANamespaceComesBack: the spoke looks after what it made, without anybody who asks it to.
func TestWhatIsTakenFromANamespaceComesBack(t *testing.T) {
	ctx := limited(t)
	p := newTenants(ctx, t)
	p.managing(ctx, t)
	s := acmeSpec()
	c := p.careful(ctx, t, s, 200*time.Millisecond)
	if err := c.Make(ctx, "acme", s.Namespace); err != nil {
		t.Fatal(err)
	}
	p.clean(ctx, t, s)
	core, net := p.Client.CoreV1(), p.Client.NetworkingV1().NetworkPolicies(s.Namespace)

	t.Run("a policy is deleted", func(t *testing.T) {
		if err := net.Delete(ctx, "default-deny", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		await(ctx, t, "the policy is back", func() bool { _, err := net.Get(ctx, "default-deny", metav1.GetOptions{}); return err == nil })
		await(ctx, t, "it is said", func() bool {
			return len(c.log.lines("level=WARN", "NetworkPolicy nave-acme/default-deny", "deleted")) == 1
		})
	})
	t.Run("a label is weakened", func(t *testing.T) {
		weak := `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged"}}}`
		if _, err := core.Namespaces().Patch(ctx, s.Namespace, types.MergePatchType, []byte(weak), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		await(ctx, t, "the label is back", func() bool {
			n, err := core.Namespaces().Get(ctx, s.Namespace, metav1.GetOptions{})
			return err == nil && n.Labels["pod-security.kubernetes.io/enforce"] == "restricted"
		})
		await(ctx, t, "it is said", func() bool {
			return len(c.log.lines("level=WARN", "Namespace nave-acme", "metadata.labels.pod-security.kubernetes.io/enforce")) == 1
		})
	})
	t.Run("its own rights are taken", func(t *testing.T) {
		if err := p.Client.RbacV1().RoleBindings(s.Namespace).Delete(ctx, tenant.RoleTenant, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := core.ResourceQuotas(s.Namespace).Delete(ctx, sessionAccount, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		await(ctx, t, "the quota is back", func() bool {
			_, err := core.ResourceQuotas(s.Namespace).Get(ctx, sessionAccount, metav1.GetOptions{})
			return err == nil
		})
	})
	t.Run("what is whole costs questions alone", func(t *testing.T) {
		await(ctx, t, "nothing is written any more", func() bool {
			c.asked.forget()
			if err := c.keeper.Apply(ctx, s); err != nil {
				t.Fatal(err)
			}
			return c.asked.count("PATCH") == 0
		})
		was := len(c.log.lines("repaired"))
		before := p.versions(ctx, t, s)
		c.asked.forget()
		c.rounds(ctx, t)
		if of := c.asked.count("PATCH") + c.asked.count("POST"); of > 0 {
			t.Errorf("what is whole was written %d times", of)
		}
		if lists, all := c.asked.count("GET /api/v1/namespaces"), c.asked.count("GET"); all > 12*(lists+1) {
			t.Errorf("%d questions in %d rounds, want a list and eleven in each", all, lists)
		}
		for object, version := range p.versions(ctx, t, s) {
			if before[object] != version {
				t.Errorf("%s changed", object)
			}
		}
		if is := len(c.log.lines("repaired")); is != was {
			t.Errorf("%d repairs were said where nothing was to repair", is-was)
		}
	})
}

// TestOtherSettingsReachTheNamespacesThatWereMade: a spoke that starts with another template finds what the one before made.
func TestOtherSettingsReachTheNamespacesThatWereMade(t *testing.T) {
	ctx := limited(t)
	p := newTenants(ctx, t)
	p.managing(ctx, t)
	s := acmeSpec()
	p.apply(ctx, t, s)
	other := s
	other.Organization, other.Namespace = "umbrella", "nave-umbrella"
	p.apply(ctx, t, other)

	next := s
	next.Quota.Pods, next.EgressCIDRs = "7", []string{"192.0.2.0/24"}
	c := p.careful(ctx, t, next, 200*time.Millisecond)
	for _, namespace := range []string{s.Namespace, other.Namespace} {
		await(ctx, t, "the settings are in "+namespace, func() bool {
			q, err := p.Client.CoreV1().ResourceQuotas(namespace).Get(ctx, sessionAccount, metav1.GetOptions{})
			n, e := p.Client.NetworkingV1().NetworkPolicies(namespace).Get(ctx, "allow-egress", metav1.GetOptions{})
			return err == nil && e == nil && q.Spec.Hard.Pods().Value() == 7 && len(n.Spec.Egress) == 1
		})
	}
	if is := c.log.lines("level=INFO", "brought up to date", "ResourceQuota nave-umbrella/nave-session", "spec.hard.pods"); len(is) != 1 {
		t.Errorf("it was said %d times what changed", len(is))
	}

	t.Run("one that is gone stays gone", func(t *testing.T) {
		spaces := p.Client.CoreV1().Namespaces()
		if err := spaces.Delete(ctx, other.Namespace, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		n, err := spaces.Get(ctx, other.Namespace, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		n.Spec.Finalizers = nil // as the controller of namespaces does when it has emptied one
		if _, err := spaces.Finalize(ctx, n, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		c.asked.forget()
		c.rounds(ctx, t)
		if _, err := spaces.Get(ctx, other.Namespace, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("the namespace is there again: %v", err)
		}
		if err := c.Make(ctx, other.Organization, other.Namespace); err != nil { // a session starts
			t.Fatal(err)
		}
		if _, err := spaces.Get(ctx, other.Namespace, metav1.GetOptions{}); err != nil {
			t.Errorf("a session that starts has no namespace: %v", err)
		}
	})
	t.Run("one that is not ours any more is said once", func(t *testing.T) {
		if _, err := p.Client.CoreV1().Namespaces().Patch(ctx, s.Namespace, types.MergePatchType, []byte(`{"metadata":{"labels":{"app.kubernetes.io/managed-by":"somebody"}}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		await(ctx, t, "it is said", func() bool { return len(c.log.lines("level=WARN", "not as it should be", s.Namespace)) > 0 })
		c.asked.forget()
		c.rounds(ctx, t)
		if is := c.log.lines("level=WARN", "not as it should be", s.Namespace); len(is) != 1 {
			t.Errorf("it was said %d times", len(is))
		}
	})
}
