package identity_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/kube/identity"
)

func TestThePodsOwnTokenIsTaken(t *testing.T) {
	for _, alg := range []jose.SignatureAlgorithm{jose.ES256, jose.RS256} {
		key := newSigner(t, "k1", alg)
		r := newRig(t, newSigner(t, "k0", jose.RS256), key)
		now := time.Now()
		r.takes(t, key.sign(t, claimsOf(r.id, now)))
		// Clocks differ.
		r.takes(t, key.sign(t, claimsOf(r.id, now.Add(30*time.Second))))
		r.takes(t, key.sign(t, claimsOf(r.id, now.Add(-10*time.Minute-30*time.Second))))
	}
}

func TestNoOtherTokenIs(t *testing.T) {
	es, rs, stranger := newSigner(t, "k1", jose.ES256), newSigner(t, "k2", jose.RS256), newSigner(t, "k1", jose.ES256)
	now := time.Now()
	good := claimsOf(workload(1), now)
	text := func(v string) string { return base64.RawURLEncoding.EncodeToString([]byte(v)) }
	parts := strings.Split(es.sign(t, good), ".")
	der, err := x509.MarshalPKIXPublicKey(rs.private.Public())
	if err != nil {
		t.Fatal(err)
	}
	secret := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})

	for name, c := range map[string]struct {
		token string
		claim string // that the log names
	}{
		"none":                                 {"", "form"},
		"garbage":                              {"garbage", "form"},
		"garbage with dots":                    {"a.b.c", "form"},
		"too long":                             {strings.Repeat("a", 9<<10), "size"},
		"alg none":                             {text(`{"alg":"none","kid":"k1"}`) + "." + parts[1] + ".", "alg"},
		"alg none with a signature":            {text(`{"alg":"none","kid":"k1"}`) + "." + parts[1] + "." + parts[2], "alg"},
		"the public key as a secret":           {signWith(t, jose.HS256, jose.JSONWebKey{Key: secret, KeyID: "k2"}, good), "alg"},
		"the public key's bytes as a secret":   {signWith(t, jose.HS256, jose.JSONWebKey{Key: der, KeyID: "k2"}, good), "alg"},
		"PS256 by the published key":           {signWith(t, jose.PS256, jose.JSONWebKey{Key: rs.private, KeyID: "k2"}, good), "alg"},
		"RS256 by the id of a key for ES256":   {signWith(t, jose.RS256, jose.JSONWebKey{Key: rs.private, KeyID: "k1"}, good), "signature"},
		"no key id":                            {signWith(t, jose.ES256, es.private, good), "kid"},
		"unknown key id":                       {newSigner(t, "k9", jose.ES256).sign(t, good), "kid"},
		"another cluster's key of this id":     {stranger.sign(t, good), "signature"},
		"claims exchanged":                     {parts[0] + "." + text(`{"iss":"x"}`) + "." + parts[2], "signature"},
		"header exchanged":                     {text(`{"alg":"ES256","kid":"k1","typ":"JWT"}`) + "." + parts[1] + "." + parts[2], "signature"},
		"without its signature":                {parts[0] + "." + parts[1] + ".", "signature"},
		"claims that are none":                 {es.sign(t, []string{"x"}), "claims"},
		"a time that is none":                  {es.sign(t, with(good, "exp", "soon")), "claims"},
		"another issuer":                       {es.sign(t, with(good, "iss", "https://kubernetes.elsewhere")), "iss"},
		"no issuer":                            {es.sign(t, with(good, "iss", nil)), "iss"},
		"the API server's audience":            {es.sign(t, with(good, "aud", []string{issuer})), "aud"},
		"two audiences":                        {es.sign(t, with(good, "aud", []string{audience, issuer})), "aud"},
		"no audience":                          {es.sign(t, with(good, "aud", nil)), "aud"},
		"expired":                              {es.sign(t, with(good, "exp", now.Add(-61*time.Second).Unix())), "exp"},
		"never expires":                        {es.sign(t, with(good, "exp", nil)), "exp"},
		"not yet valid":                        {es.sign(t, with(good, "nbf", now.Add(2*time.Minute).Unix())), "nbf"},
		"valid since ever":                     {es.sign(t, with(good, "nbf", nil)), "nbf"},
		"made in the future":                   {es.sign(t, with(good, "iat", now.Add(2*time.Minute).Unix())), "iat"},
		"another pod":                          {es.sign(t, claimsOf(workload(2), now)), "kubernetes.io.pod.name"},
		"the pod of this name that was before": {es.sign(t, with(good, "kubernetes.io/pod/uid", "0")), "kubernetes.io.pod.uid"},
		"bound to no pod":                      {es.sign(t, with(good, "kubernetes.io/pod", nil)), "kubernetes.io.pod.name"},
		"bound to nothing":                     {es.sign(t, with(good, "kubernetes.io", nil)), "kubernetes.io.serviceaccount.name"},
		"another service account": {es.sign(t, with(with(good, "sub", "system:serviceaccount:nave-default:default"),
			"kubernetes.io/serviceaccount/name", "default")), "sub"},
		"another service account in the subject": {es.sign(t, with(good, "sub", "system:serviceaccount:nave-default:default")), "sub"},
		"another service account in the binding": {es.sign(t, with(good, "kubernetes.io/serviceaccount/name", "default")), "kubernetes.io.serviceaccount.name"},
		"another namespace": {es.sign(t, with(with(good, "sub", "system:serviceaccount:elsewhere:nave-session"),
			"kubernetes.io/namespace", "elsewhere")), "sub"},
		"another namespace in the binding": {es.sign(t, with(good, "kubernetes.io/namespace", "elsewhere")), "kubernetes.io.namespace"},
		"names in other letters":           {es.sign(t, with(with(good, "iss", nil), "ISS", issuer)), "iss"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, es, rs)
			err := r.Verify(t.Context(), r.id, c.token)
			if api.CodeOf(err) != api.CodeUnauthenticated {
				t.Fatalf("verify: %v, want %s", err, api.CodeUnauthenticated)
			}
			if diff := cmp.Diff("verify token: this token does not show that its bearer is the harness of the workload", err.Error()); diff != "" {
				t.Errorf("the caller learns something else (-want +got):\n%s", diff)
			}
			if !strings.Contains(r.log.String(), "claim="+c.claim+" ") {
				t.Errorf("the log names another claim than %s:\n%s", c.claim, r.log)
			}
			for _, part := range strings.Split(c.token, ".") {
				if len(part) > 10 && strings.Contains(r.log.String()+fmt.Sprintf("%#v %v", err, errors.Unwrap(err)), part) {
					t.Errorf("a part of the token is told: %s", part)
				}
			}
		})
	}
}

func TestATokenOfAPodThatTheInformerDoesNotHave(t *testing.T) {
	key := newSigner(t, "k1", jose.ES256)
	r := newRig(t, key)
	gone := workload(2)
	if err := r.Verify(t.Context(), gone, key.sign(t, claimsOf(gone, time.Now()))); api.CodeOf(err) != api.CodeUnauthenticated {
		t.Errorf("verify: %v, want %s", err, api.CodeUnauthenticated)
	}
	if n := r.server.count(); n != 0 {
		t.Errorf("a name that does not exist led to %d questions to the API server", n)
	}
}

func TestAnInformerThatHasNotCaughtUpIsNoEvidence(t *testing.T) {
	key, behind := newSigner(t, "k1", jose.ES256), errors.New("not synced")
	r := newRig(t, key)
	state := behind
	r.complete = func() error { return state }
	refused := func(what string, id spoke.WorkloadID, token string, code api.Code) {
		t.Helper()
		err := r.Verify(t.Context(), id, token)
		if api.CodeOf(err) != code || strings.Contains(err.Error(), behind.Error()) || errors.Is(err, behind) != (code == api.CodeUnavailable) {
			t.Errorf("%s: %v, want %s", what, err, code)
		}
	}
	now, unknown := time.Now(), workload(2)
	another := with(claimsOf(r.id, now), "kubernetes.io/pod/uid", "0")
	refused("a pod that is not known yet", unknown, key.sign(t, claimsOf(unknown, now)), api.CodeUnavailable)
	refused("a pod that was made again", r.id, key.sign(t, another), api.CodeUnavailable)
	refused("a token of another service", r.id, key.sign(t, with(another, "aud", "vault")), api.CodeUnauthenticated)
	refused("a token that has expired", r.id, key.sign(t, with(another, "exp", now.Add(-time.Hour).Unix())), api.CodeUnauthenticated)
	refused("garbage", r.id, "garbage", api.CodeUnauthenticated)
	r.takes(t, key.sign(t, claimsOf(r.id, now)))

	state = nil
	refused("a pod that does not exist", unknown, key.sign(t, claimsOf(unknown, now)), api.CodeUnauthenticated)
	refused("a pod that was, of this name", r.id, key.sign(t, another), api.CodeUnauthenticated)
}

func TestTheLogOfRefusalsIsBounded(t *testing.T) {
	r := newRig(t, newSigner(t, "k1", jose.ES256))
	for range 500 {
		r.refuses(t, "garbage", api.CodeUnauthenticated)
	}
	if n := strings.Count(r.log.String(), "a token was refused"); n != identity.Logged {
		t.Errorf("500 refusals are %d lines of the log, want %d", n, identity.Logged)
	}
}

func TestConfigSaysWhatIsMissing(t *testing.T) {
	_, err := identity.New(identity.Config{})
	if api.CodeOf(err) != api.CodeInvalid || api.FieldOf(err) != "rest" {
		t.Errorf("an empty config: %v, want %s of rest", err, api.CodeInvalid)
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, alg := range []jose.SignatureAlgorithm{jose.ES256, jose.RS256} {
		b.Run(string(alg), func(b *testing.B) {
			key := newSigner(b, "k1", alg)
			r := newRig(b, key)
			token := key.sign(b, claimsOf(r.id, time.Now()))
			r.takes(b, token)
			b.ReportAllocs()
			for b.Loop() {
				if err := r.Verify(b.Context(), r.id, token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
