//go:build kindtests

package kindtests

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
	"github.com/nave-dev/nave/spoke/kube/identity"
)

const sessionSpace = "nave-default" // the namespace of the sessions

// bearers is a control plane with a spoke, a service account of sessions, and an informer of their pods.
type bearers struct {
	*plane
	store cache.Store
	id    spoke.WorkloadID
}

func attemptOf(n uint64) spoke.WorkloadID {
	return spoke.WorkloadID{Session: "01J9Z3T8K5M0N1P2Q3R4S5T6V7", Epoch: api.Epoch{Incarnation: 1, N: n}, Attempt: 1}
}

func newBearers(ctx context.Context, t testing.TB, p *plane) *bearers {
	t.Helper()
	b := &bearers{plane: p, id: attemptOf(1)}
	b.namespace(ctx, t, spokeNamespace, spokeAccount)
	b.namespace(ctx, t, sessionSpace, sessionAccount, "other")
	b.namespace(ctx, t, "elsewhere", sessionAccount)
	watching, cancel := context.WithCancel(ctx)
	factory := informers.NewSharedInformerFactoryWithOptions(b.Client, 0, informers.WithNamespace(sessionSpace))
	informer := factory.Core().V1().Pods().Informer()
	b.store = informer.GetStore()
	factory.Start(watching.Done())
	t.Cleanup(func() { cancel(); factory.Shutdown() })
	if !cache.WaitForCacheSync(watching.Done(), informer.HasSynced) {
		t.Fatal("the informer did not sync")
	}
	return b
}

// pod is what the informer has.
func (b *bearers) pod(name string) (namespace, uid string, ok bool) {
	o, ok, err := b.store.GetByKey(sessionSpace + "/" + name)
	if err != nil || !ok {
		return "", "", false
	}
	return sessionSpace, string(o.(*corev1.Pod).UID), true
}

// create makes a pod and returns its uid when the informer has it, if it is in the namespace of the sessions.
func (b *bearers) create(ctx context.Context, t testing.TB, namespace, name, account string) *corev1.Pod {
	t.Helper()
	p := restrictedPod(namespace, name)
	p.Spec.ServiceAccountName = account
	p, err := b.Client.CoreV1().Pods(namespace).Create(ctx, p, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if namespace == sessionSpace {
		await(ctx, t, "the informer has the pod", func() bool { _, uid, _ := b.pod(name); return uid == string(p.UID) })
	}
	return p
}

// bound gets a token as the kubelet does for a pod.
func (b *bearers) bound(ctx context.Context, t testing.TB, p *corev1.Pod, audiences ...string) string {
	t.Helper()
	return b.token(ctx, t, p.Namespace, p.Spec.ServiceAccountName, authenticationv1.TokenRequestSpec{
		Audiences: audiences, BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID},
	})
}

// heard is a log that a test reads.
type heard struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.Write(p)
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.String()
}

// verifier is the spoke's, with the spoke's own rights: none but what every service account has. Its clock goes ahead.
func (b *bearers) verifier(ctx context.Context, t testing.TB, ahead time.Duration) (*identity.Verifier, *heard) {
	t.Helper()
	h := &heard{}
	v, err := identity.New(identity.Config{
		Rest: b.as(ctx, t, spokeNamespace, spokeAccount), Audience: harnessv1.Audience, ServiceAccount: sessionAccount, Pod: b.pod,
		Log: slog.New(slog.NewTextHandler(h, nil)), Now: func() time.Time { return time.Now().Add(ahead) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return v, h
}

// TestTokensOfAnAPIServer shows real tokens, and what is made of them, to a verifier that asks a real API server for its keys.
func TestTokensOfAnAPIServer(t *testing.T) {
	ctx := limited(t)
	b := newBearers(ctx, t, controlPlane(ctx, t))
	own := b.create(ctx, t, sessionSpace, b.id.String(), sessionAccount)
	token := b.bound(ctx, t, own, harnessv1.Audience)
	v, log := b.verifier(ctx, t, 0)
	if err := v.Ready(ctx); err != nil {
		t.Fatalf("ready: %v\n%s", err, log)
	}
	if err := v.Verify(ctx, b.id, token); err != nil {
		t.Fatalf("the pod's own token: %v\n%s", err, log)
	}

	parts := strings.Split(token, ".")
	var header struct{ Kid string }
	tokenPart(t, parts[0], &header)
	text := base64.RawURLEncoding.EncodeToString
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile(b.pki("sa.pub"))
	if err != nil {
		t.Fatal(err)
	}
	another := b.create(ctx, t, sessionSpace, attemptOf(2).String(), sessionAccount)
	of := func(p *corev1.Pod) string { return b.bound(ctx, t, p, harnessv1.Audience) }

	for name, c := range map[string]struct {
		token string
		claim string
		ahead time.Duration
	}{
		"none":                               {"", "form", 0},
		"garbage":                            {"garbage", "form", 0},
		"alg none":                           {text([]byte(`{"alg":"none","kid":"`+header.Kid+`"}`)) + "." + parts[1] + ".", "alg", 0},
		"HS256 by the public key":            {signToken(t, jose.HS256, public, header.Kid, payload), "alg", 0},
		"another cluster's key of this id":   {signToken(t, jose.ES256, stranger, header.Kid, payload), "signature", 0},
		"an unknown key":                     {signToken(t, jose.ES256, stranger, "unknown", payload), "kid", 0},
		"the API server's audience":          {b.bound(ctx, t, own), "aud", 0},
		"another audience":                   {b.bound(ctx, t, own, "vault"), "aud", 0},
		"two audiences":                      {b.bound(ctx, t, own, harnessv1.Audience, "vault"), "aud", 0},
		"expired":                            {token, "exp", 11*time.Minute + 5*time.Second},
		"not yet valid":                      {token, "nbf", -2 * time.Minute},
		"another pod":                        {of(another), "kubernetes.io.pod.name", 0},
		"bound to nothing":                   {b.token(ctx, t, sessionSpace, sessionAccount, authenticationv1.TokenRequestSpec{Audiences: []string{harnessv1.Audience}}), "kubernetes.io.pod.name", 0},
		"another service account":            {of(b.create(ctx, t, sessionSpace, "other", "other")), "sub", 0},
		"a pod of this name in another room": {of(b.create(ctx, t, "elsewhere", b.id.String(), sessionAccount)), "sub", 0},
	} {
		t.Run(name, func(t *testing.T) {
			v, log := b.verifier(ctx, t, c.ahead)
			err := v.Verify(ctx, b.id, c.token)
			if api.CodeOf(err) != api.CodeUnauthenticated {
				t.Errorf("verify: %v, want %s", err, api.CodeUnauthenticated)
			}
			if !strings.Contains(log.String(), "claim="+c.claim+" ") {
				t.Errorf("the log names another claim than %s:\n%s", c.claim, log)
			}
			if p := strings.Split(c.token, "."); len(p) == 3 && p[2] != "" && strings.Contains(log.String(), p[2]) {
				t.Error("the log has the token's signature")
			}
		})
	}

	t.Run("the pod is made again under its name", func(t *testing.T) {
		now := int64(0)
		if err := b.Client.CoreV1().Pods(sessionSpace).Delete(ctx, own.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
			t.Fatal(err)
		}
		await(ctx, t, "the informer has no pod", func() bool { _, _, ok := b.pod(own.Name); return !ok })
		if err := v.Verify(ctx, b.id, token); api.CodeOf(err) != api.CodeUnauthenticated {
			t.Errorf("the token of a pod that is gone: %v", err)
		}
		again := b.create(ctx, t, sessionSpace, own.Name, sessionAccount)
		if err := v.Verify(ctx, b.id, token); api.CodeOf(err) != api.CodeUnauthenticated || !strings.Contains(log.String(), "claim=kubernetes.io.pod.uid") {
			t.Errorf("the token of the former pod: %v\n%s", err, log)
		}
		if err := v.Verify(ctx, b.id, of(again)); err != nil {
			t.Errorf("the token of the new pod: %v\n%s", err, log)
		}
	})

	t.Run("a spoke that may not read the keys", func(t *testing.T) {
		const role = "system:service-account-issuer-discovery"
		if err := b.Client.RbacV1().ClusterRoleBindings().Delete(ctx, role, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		await(ctx, t, "the API server refuses to tell its keys, and the log says what to do", func() bool {
			v, log := b.verifier(ctx, t, 0)
			err := v.Ready(ctx)
			return api.CodeOf(err) == api.CodeUnavailable && strings.Contains(log.String(), role)
		})
	})
}

// TestAnAPIServerChangesItsKey kills an API server and brings it back with a further key, by which it signs from then on.
func TestAnAPIServerChangesItsKey(t *testing.T) {
	ctx := limited(t)
	b := newBearers(ctx, t, controlPlane(ctx, t))
	own := b.create(ctx, t, sessionSpace, b.id.String(), sessionAccount)
	former := b.bound(ctx, t, own, harnessv1.Audience)
	v, log := b.verifier(ctx, t, 0)
	takes := func(what, token string) {
		t.Helper()
		if err := v.Verify(ctx, b.id, token); err != nil {
			t.Errorf("%s: %v\n%s", what, err, log)
		}
	}
	takes("a token of the first key", former)

	fresh, freshLog := b.verifier(ctx, t, 0)
	b.kill(ctx, t)
	takes("a token while the API server is away", former)
	if err := fresh.Verify(ctx, b.id, former); api.CodeOf(err) != api.CodeUnavailable {
		t.Errorf("a verifier that knows no keys, while the API server is away: %v\n%s", err, freshLog)
	}

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err1 := x509.MarshalECPrivateKey(key)
	public, err2 := x509.MarshalPKIXPublicKey(key.Public())
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	writePEM(t, b.pki("sa2.key"), "EC PRIVATE KEY", private)
	writePEM(t, b.pki("sa2.pub"), "PUBLIC KEY", public)
	b.revive(ctx, t, func(args []string) []string {
		for i, a := range args {
			if strings.HasPrefix(a, "--service-account-signing-key-file=") {
				args[i] = "--service-account-signing-key-file=" + b.pki("sa2.key")
			}
		}
		return append(args, "--service-account-key-file="+b.pki("sa2.pub"))
	})
	next := b.bound(ctx, t, own, harnessv1.Audience)
	var one, two struct{ Kid string }
	tokenPart(t, strings.Split(former, ".")[0], &one)
	if tokenPart(t, strings.Split(next, ".")[0], &two); one.Kid == two.Kid {
		t.Fatal("the API server signs with the former key: this test shows nothing")
	}
	await(ctx, t, "a token of the second key is taken", func() bool {
		err := v.Verify(ctx, b.id, next)
		if code := api.CodeOf(err); err != nil && code != api.CodeUnavailable {
			t.Fatalf("a token of the second key: %v\n%s", err, log)
		}
		return err == nil
	})
	takes("a token of the first key afterwards", former)
}

// TestATokenThatTheKubeletBrings reads a token where a harness does, in a pod that runs, and makes another pod of the same name.
func TestATokenThatTheKubeletBrings(t *testing.T) {
	ctx := limited(t)
	bed := start(ctx, t, 1)
	b := newBearers(ctx, t, &plane{Cluster: bed.Clusters[0], bed: bed})
	v, log := b.verifier(ctx, t, 0)
	first := b.harness(ctx, t)
	if err := v.Verify(ctx, b.id, first); err != nil {
		t.Fatalf("the token of the pod: %v\n%s", err, log)
	}

	at := b.Client.CoreV1().Pods(sessionSpace)
	if err := at.Delete(ctx, b.id.String(), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	var gone, refused time.Time
	await(ctx, t, "the pod is gone and its token refused", func() bool {
		if _, err := at.Get(ctx, b.id.String(), metav1.GetOptions{}); gone.IsZero() && apierrors.IsNotFound(err) {
			gone = time.Now()
		}
		if err := v.Verify(ctx, b.id, first); refused.IsZero() && api.CodeOf(err) == api.CodeUnauthenticated {
			refused = time.Now()
		}
		return !gone.IsZero() && !refused.IsZero()
	})
	t.Logf("refused %v after the API server had no such pod, looking each %v", refused.Sub(gone).Round(time.Millisecond), waitLook)
	if late := refused.Sub(gone); late > 2*time.Second {
		t.Errorf("the token of a pod that is gone was taken for %v", late)
	}

	second := b.harness(ctx, t)
	if err := v.Verify(ctx, b.id, second); err != nil {
		t.Errorf("the token of the new pod: %v\n%s", err, log)
	}
	if err := v.Verify(ctx, b.id, first); api.CodeOf(err) != api.CodeUnauthenticated || !strings.Contains(log.String(), "claim=kubernetes.io.pod.uid") {
		t.Errorf("the token of the former pod of this name: %v\n%s", err, log)
	}
}

// harness runs a pod with a projected token under the name of the workload, and returns the token as its process sees it.
func (b *bearers) harness(ctx context.Context, t testing.TB) string {
	t.Helper()
	p, seconds, no := restrictedPod(sessionSpace, b.id.String()), int64(600), false
	p.Spec.AutomountServiceAccountToken = &no
	c := &p.Spec.Containers[0]
	run := "NAVE_TEST_RUN=" + rand.Text()
	name, value, _ := strings.Cut(run, "=")
	c.Env = []corev1.EnvVar{{Name: name, Value: value}}
	c.VolumeMounts = []corev1.VolumeMount{{Name: "identity", MountPath: "/nave/identity", ReadOnly: true}}
	p.Spec.Volumes = []corev1.Volume{{Name: "identity", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: harnessv1.Audience, ExpirationSeconds: &seconds, Path: "token"}}},
	}}}}
	p, err := b.Client.CoreV1().Pods(sessionSpace).Create(ctx, p, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	token := ""
	await(ctx, t, "the pod runs, the informer has it, and its process sees a token", func() bool {
		_, uid, _ := b.pod(p.Name)
		token = tokenIn(t, run)
		return uid == string(p.UID) && token != ""
	})
	return token
}

// tokenIn reads the token by the process that has this in its environment; empty: there is none yet. Pods share this machine's kernel.
func tokenIn(t testing.TB, variable string) string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		env, err := os.ReadFile(file)
		if err != nil || !slices.Contains(strings.Split(string(env), "\x00"), variable) {
			continue // another's, or gone
		}
		if token, err := os.ReadFile(filepath.Join(filepath.Dir(file), "root/nave/identity/token")); err == nil {
			return string(token)
		}
	}
	return ""
}

// tokenPart reads a part of a token.
func tokenPart(t testing.TB, text string, into any) {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// signToken makes a token that no API server made.
func signToken(t testing.TB, alg jose.SignatureAlgorithm, key any, id string, payload []byte) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func writePEM(t testing.TB, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
