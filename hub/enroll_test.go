package hub_test

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

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
	if d := gocmp.Diff(want, got); d != "" {
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

// everything is what enrollment can change: the clusters as they are stored, their etags included, and the overlay.
func (w *world) everything() string {
	w.t.Helper()
	cs, err := w.store.Clusters(w.t.Context())
	must(w.t, err)
	w.overlay.mu.Lock()
	defer w.overlay.mu.Unlock()
	return fmt.Sprintf("%+v %v", cs, w.overlay.identities)
}

// TestEnrollRefusalsAreAlike: whatever is wrong with the credential, the answer is the same to the letter, nothing changes
// and no identity is made; and an alarm is raised only for a token that another key has used.
func TestEnrollRefusalsAreAlike(t *testing.T) {
	w := newWorld(t)
	a, secretA := w.register("a")
	b, _ := w.register("b")
	removed, secretRemoved := w.register("removed")
	rejoined, secretOld := w.register("rejoined")
	expired, secretExpired := w.register("expired")
	first := newSpoke(t, a.ID, secretA)
	_, err := w.fleet.Enroll(t.Context(), first.request())
	must(t, err)
	must(t, w.fleet.Delete(t.Context(), "", "removed", "", false))
	_, secretNew, _, err := w.fleet.Rejoin(t.Context(), "", "rejoined", 0, "", false)
	must(t, err)
	w.pass(time.Hour)
	_, secretB, _, err := w.fleet.Rejoin(t.Context(), "", "b", 0, "", false)
	must(t, err)

	with := func(s *spoke, change func(*hub.EnrollRequest)) hub.EnrollRequest {
		r := s.request()
		change(&r)
		return r
	}
	whole := func(*hub.EnrollRequest) {}
	text := ""
	for _, c := range []struct {
		what string
		req  hub.EnrollRequest
	}{
		{"an expired token of a rejoin", with(newSpoke(t, rejoined.ID, secretNew), whole)},
		{"an unknown secret", with(newSpoke(t, a.ID, hub.JoinSecret{Secret: strings.Repeat("A", 43)}), whole)},
		{"a proof of another key", with(newSpoke(t, b.ID, secretB), func(r *hub.EnrollRequest) { r.Proof = newSpoke(t, b.ID, secretB).request().Proof })},
		{"a proof of another secret", with(newSpoke(t, b.ID, secretB), func(r *hub.EnrollRequest) { r.Proof = newSpoke(t, b.ID, secretA).request().Proof })},
		{"a proof that is none", with(newSpoke(t, b.ID, secretB), func(r *hub.EnrollRequest) { r.Proof = []byte("no signature") })},
		{"the token of a removed cluster", with(newSpoke(t, removed.ID, secretRemoved), whole)},
		{"the token from before a rejoin", with(newSpoke(t, rejoined.ID, secretOld), whole)},
		{"an expired token", with(newSpoke(t, expired.ID, secretExpired), whole)},
	} {
		before := w.everything()
		_, err := w.fleet.Enroll(t.Context(), c.req)
		refused(t, c.what, err, api.CodeDenied, "join_token")
		text = cmp.Or(text, fmt.Sprint(err))
		if fmt.Sprint(err) != text {
			t.Errorf("%s is answered %q, others %q", c.what, err, text)
		}
		if after := w.everything(); after != before {
			t.Errorf("%s changed something:\n%s\n%s", c.what, before, after)
		}
	}
	if len(w.alarms) != 0 {
		t.Errorf("alarms %v", w.alarms)
	}
	// None of the forgeries has used the token up; the second key of a used one is alarmed.
	_, err = w.fleet.Enroll(t.Context(), newSpoke(t, b.ID, secretB).request())
	must(t, err)
	before := w.everything()
	_, err = w.fleet.Enroll(t.Context(), newSpoke(t, b.ID, secretB).request())
	refused(t, "another key", err, api.CodeDenied, "join_token")
	if fmt.Sprint(err) != text || w.everything() != before || !slices.Equal(w.alarms, []hub.Alarm{hub.AlarmJoinToken}) {
		t.Errorf("another key: %v, alarms %v", err, w.alarms)
	}

	d, secretD := w.register("d")
	before = w.everything()
	_, err = w.fleet.Enroll(t.Context(), newSpoke(t, expired.ID, secretD).request())
	refused(t, "a token of another cluster", err, api.CodeDenied, "join_token")
	if got := w.everything(); fmt.Sprint(err) != text || got != before {
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
			before := w.everything()
			_, err := w.fleet.Enroll(t.Context(), r)
			refused(t, field, err, api.CodeInvalid, field)
			if after := w.everything(); after != before {
				t.Errorf("a malformed %s changed something:\n%s\n%s", field, before, after)
			}
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
