package client_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/api/navev1/navev1connect"
	"github.com/nave-dev/nave/hub/client"
)

// enrollment checks the proof as a hub does and counts what it hears.
type enrollment struct {
	heard    atomic.Int32
	failures int32
}

func (e *enrollment) Enroll(_ context.Context, r *navev1.EnrollRequest) (*navev1.EnrollResponse, error) {
	if e.heard.Add(1) <= e.failures {
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("away"))
	}
	pub, err := x509.ParsePKIXPublicKey(r.GetPublicKey())
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	digest := client.EnrollDigest(r.GetSecret())
	if !ecdsa.VerifyASN1(pub.(*ecdsa.PublicKey), digest[:], r.GetProof()) {
		return nil, connect.NewError(connect.CodePermissionDenied, errors.New("proof"))
	}
	return &navev1.EnrollResponse{ClusterName: r.GetClusterId() + " " + r.GetSecret()}, nil
}

func (e *enrollment) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(navev1connect.NewEnrollmentHandler(e))
	return mux
}

func TestEnroll(t *testing.T) {
	a, e := newAuthority(t, "hub"), &enrollment{failures: 1}
	tok := client.NewJoinToken(a.serve(t, e.handler(), leafOptions{}, a.cert), a.cert, "CLUSTER", "hush")
	res, err := client.Enroll(t.Context(), tok, newKey(t))
	if err != nil || res.GetClusterName() != "CLUSTER hush" || e.heard.Load() != 2 {
		t.Errorf("got %v, %v after %d requests", res, err, e.heard.Load())
	}
}

func TestEnrollThroughAnIntermediate(t *testing.T) {
	root, key := newAuthority(t, "root"), newKey(t)
	between := authority{sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "between"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, root.cert, key, root.key), key}
	e := &enrollment{}
	tok := client.NewJoinToken(between.serve(t, e.handler(), leafOptions{}, between.cert, root.cert), root.cert, "C", "hush")
	if _, err := client.Enroll(t.Context(), tok, newKey(t)); err != nil {
		t.Error(err)
	}
}

func TestEnrollTellsOnlyTheRightHub(t *testing.T) {
	right, wrong := newAuthority(t, "hub"), newAuthority(t, "hub")
	for _, tc := range []struct {
		name  string
		serve func(http.Handler) string
		want  string
	}{
		{"another authority", func(h http.Handler) string { return wrong.serve(t, h, leafOptions{}, wrong.cert) }, "does not present"},
		{"the right authority only shown", func(h http.Handler) string { return wrong.serve(t, h, leafOptions{}, wrong.cert, right.cert) }, "unknown authority"},
		{"authority not shown", func(h http.Handler) string { return right.serve(t, h, leafOptions{}) }, "does not present"},
		{"another host", func(h http.Handler) string { return right.serve(t, h, leafOptions{host: "other.example"}, right.cert) }, "127.0.0.1"},
		{"expired", func(h http.Handler) string { return right.serve(t, h, leafOptions{expired: true}, right.cert) }, "expired"},
		{"not a server", func(h http.Handler) string { return right.serve(t, h, leafOptions{client: true}, right.cert) }, "usage"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := &enrollment{}
			tok := client.NewJoinToken(tc.serve(e.handler()), right.cert, "C", "hush")
			_, err := client.Enroll(t.Context(), tok, newKey(t))
			if api.CodeOf(err) != api.CodeFailed || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %q: %v, want %q", api.CodeOf(err), err, tc.want)
			}
			if e.heard.Load() != 0 {
				t.Error("the secret was sent")
			}
		})
	}
	// A leaf that the hash names is no authority.
	key := newKey(t)
	leaf := sign(t, &x509.Certificate{SerialNumber: big.NewInt(3), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}, right.cert, key, right.key)
	e := &enrollment{}
	tok := client.NewJoinToken(right.serve(t, e.handler(), leafOptions{}, leaf), leaf, "C", "hush")
	if _, err := client.Enroll(t.Context(), tok, newKey(t)); api.CodeOf(err) != api.CodeFailed || e.heard.Load() != 0 {
		t.Errorf("a pinned leaf: %v", err)
	}
}

func TestEnrollRefusesBadInput(t *testing.T) {
	tok := client.JoinToken{Address: "https://127.0.0.1:1", AuthorityHash: [32]byte{1}, ClusterID: "C", Secret: "s"}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []*ecdsa.PrivateKey{nil, p384} {
		if _, err := client.Enroll(t.Context(), tok, key); api.FieldOf(err) != "key" {
			t.Errorf("got %v", err)
		}
	}
	if _, err := client.Enroll(t.Context(), client.JoinToken{}, newKey(t)); api.FieldOf(err) != "address" {
		t.Errorf("got %v", err)
	}
}
