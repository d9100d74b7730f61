package hub_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/internal/run"
)

// spoke is what a joining spoke has.
type spoke struct {
	t       *testing.T
	key     *ecdsa.PrivateKey
	cluster api.ClusterID
	secret  string
}

func newSpoke(t *testing.T, id api.ClusterID, secret hub.JoinSecret) *spoke {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return &spoke{t: t, key: key, cluster: id, secret: secret.Secret}
}

func (s *spoke) request() hub.EnrollRequest {
	s.t.Helper()
	pub, err := x509.MarshalPKIXPublicKey(&s.key.PublicKey)
	must(s.t, err)
	digest := hub.EnrollDigest(s.secret)
	proof, err := ecdsa.SignASN1(rand.Reader, s.key, digest[:])
	must(s.t, err)
	return hub.EnrollRequest{Secret: s.secret, Cluster: s.cluster, PublicKey: pub, Proof: proof}
}

func TestEnrollBindsTheFirstKey(t *testing.T) {
	w := newWorld(t)
	c, secret := w.register("a")
	s := newSpoke(t, c.ID, secret)
	got, err := w.fleet.Enroll(t.Context(), s.request())
	must(t, err)
	want := hub.Enrolled{OverlayToken: "token-of-identity-1", Org: api.DefaultOrg, ClusterName: "a", HubIdentities: []string{"hub-1"}, Service: "nave-hub"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	c, err = w.fleet.ByID(t.Context(), c.ID)
	if err != nil || c.Identity != "identity-1" || w.overlay.identities["identity-1"] != "nave-spoke-"+string(c.ID) {
		t.Errorf("the cluster is %v, %v; the overlay has %v", c, err, w.overlay.identities)
	}
	// The same key may repeat and gets a new identity; the older one is gone.
	got, err = w.fleet.Enroll(t.Context(), s.request())
	if err != nil || got.OverlayToken != "token-of-identity-2" || len(w.overlay.identities) != 1 {
		t.Errorf("the repeat: %v, %v; the overlay has %v", got, err, w.overlay.identities)
	}
}

// TestEnrollRefusalsAreAlike: whatever is wrong with the credential, the answer is the same to the letter, nothing changes
// and no identity is made.
func TestEnrollRefusalsAreAlike(t *testing.T) {
	w := newWorld(t)
	a, secretA := w.register("a")
	b, secretB := w.register("b")
	must2 := func(_ hub.Enrolled, err error) { t.Helper(); must(t, err) }
	must2(w.fleet.Enroll(t.Context(), newSpoke(t, a.ID, secretA).request()))
	before := len(w.overlay.identities)

	otherKey := newSpoke(t, a.ID, secretA).request()
	unknown := newSpoke(t, a.ID, hub.JoinSecret{Secret: strings.Repeat("A", 43)}).request()
	forged := newSpoke(t, b.ID, secretB).request()
	forged.Proof = newSpoke(t, b.ID, secretB).request().Proof
	otherSecret := newSpoke(t, b.ID, secretB).request()
	otherSecret.Proof = newSpoke(t, b.ID, secretA).request().Proof
	garbled := newSpoke(t, b.ID, secretB).request()
	garbled.Proof = []byte("no signature")
	text := ""
	for what, req := range map[string]hub.EnrollRequest{
		"another key": otherKey, "an unknown secret": unknown, "a proof of another key": forged, "a proof of another secret": otherSecret, "a proof that is none": garbled,
	} {
		_, err := w.fleet.Enroll(t.Context(), req)
		refused(t, what, err, api.CodeDenied, "join_token")
		if text == "" && err != nil {
			text = err.Error()
		}
		if err != nil && err.Error() != text {
			t.Errorf("%s is answered %q, others %q", what, err, text)
		}
	}
	if len(w.overlay.identities) != before {
		t.Errorf("a refused request changed the overlay: %v", w.overlay.identities)
	}
	// None of the forgeries has used the token up.
	must2(w.fleet.Enroll(t.Context(), newSpoke(t, b.ID, secretB).request()))

	c, secretC := w.register("c")
	w.pass(time.Hour)
	_, err := w.fleet.Enroll(t.Context(), newSpoke(t, c.ID, secretC).request())
	refused(t, "an expired token", err, api.CodeDenied, "join_token")
	d, secretD := w.register("d")
	misdirected := newSpoke(t, c.ID, secretD)
	_, err = w.fleet.Enroll(t.Context(), misdirected.request())
	refused(t, "a token of another cluster", err, api.CodeDenied, "join_token")
	if err.Error() != text {
		t.Errorf("a token of another cluster is answered %q, others %q", err, text)
	}
	if got, err := w.fleet.ByID(t.Context(), d.ID); err != nil || got.Identity != "" {
		t.Errorf("the cluster has identity %q, %v", got.Identity, err)
	}
}

func TestEnrollRefusesMalformedRequests(t *testing.T) {
	w := newWorld(t)
	c, secret := w.register("a")
	good := newSpoke(t, c.ID, secret).request()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	rsaDER, err := x509.MarshalPKIXPublicKey(&rsaKey.PublicKey)
	must(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	p384DER, err := x509.MarshalPKIXPublicKey(&p384.PublicKey)
	must(t, err)
	for field, changes := range map[string][]func(*hub.EnrollRequest){
		"join_token": {
			func(r *hub.EnrollRequest) { r.Secret = "" }, func(r *hub.EnrollRequest) { r.Secret += "A" }, func(r *hub.EnrollRequest) { r.Secret = r.Secret[:40] },
			func(r *hub.EnrollRequest) { r.Cluster = "a" }, func(r *hub.EnrollRequest) { r.Cluster = r.Cluster[:20] },
		},
		"public_key": {
			func(r *hub.EnrollRequest) { r.PublicKey = nil }, func(r *hub.EnrollRequest) { r.PublicKey = rsaDER }, func(r *hub.EnrollRequest) { r.PublicKey = p384DER },
			func(r *hub.EnrollRequest) { r.PublicKey = make([]byte, 2000) },
		},
		"proof": {func(r *hub.EnrollRequest) { r.Proof = nil }, func(r *hub.EnrollRequest) { r.Proof = make([]byte, 300) }},
	} {
		for _, change := range changes {
			r := good
			change(&r)
			_, err := w.fleet.Enroll(t.Context(), r)
			refused(t, field, err, api.CodeInvalid, field)
		}
	}
	_, err = w.fleet.Enroll(t.Context(), good)
	must(t, err)
}

// TestTheRecordedIdentityExists lets one spoke enroll many times at once while the cluster is changed: what is recorded in
// the end is an identity that the overlay has, and the only one.
func TestTheRecordedIdentityExists(t *testing.T) {
	w := newWorld(t)
	c, secret := w.register("a")
	req := newSpoke(t, c.ID, secret).request()
	tasks := run.NewGroup(t.Context())
	for range 4 {
		tasks.Go("enroll", func(ctx context.Context) error {
			for range 10 {
				if _, err := w.fleet.Enroll(ctx, req); err != nil && api.CodeOf(err) != api.CodeUnavailable {
					return err
				}
			}
			return nil
		})
	}
	must(t, tasks.Wait())
	_, err := w.fleet.Enroll(t.Context(), req)
	must(t, err)
	c, err = w.fleet.ByID(t.Context(), c.ID)
	must(t, err)
	if !w.overlay.has(c.Identity) || len(w.overlay.identities) != 1 {
		t.Errorf("%q is recorded, the overlay has %v", c.Identity, w.overlay.identities)
	}
}

// TestEnrollOfAClusterThatVanishes: the cluster is deleted after its token was accepted; no identity stays.
func TestEnrollOfAClusterThatVanishes(t *testing.T) {
	w := newWorld(t)
	c, secret := w.register("a")
	w.overlay.change = func() {
		w.overlay.change = nil
		must(t, w.fleet.Delete(t.Context(), "", "a", "", false))
	}
	_, err := w.fleet.Enroll(t.Context(), newSpoke(t, c.ID, secret).request())
	refused(t, "a deleted cluster", err, api.CodeDenied, "join_token")
	if len(w.overlay.identities) != 0 {
		t.Errorf("the overlay has %v", w.overlay.identities)
	}
}
