package identity_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"k8s.io/client-go/rest"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/kube/identity"
)

const (
	issuer    = "https://kubernetes.default.svc"
	audience  = "nave-spoke"
	namespace = "nave-default"
	account   = "nave-session"
	podUID    = "5f0a7bb6-8c1e-4b5c-9d57-2b7b6f1f4a01"
)

// signer is a key that an API server signs with.
type signer struct {
	id      string
	alg     jose.SignatureAlgorithm
	private crypto.Signer
}

func newSigner(t testing.TB, id string, alg jose.SignatureAlgorithm) signer {
	t.Helper()
	var private crypto.Signer
	var err error
	if alg == jose.ES256 {
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return signer{id, alg, private}
}

func (s signer) published() jose.JSONWebKey {
	return jose.JSONWebKey{Key: s.private.Public(), KeyID: s.id, Algorithm: string(s.alg), Use: "sig"}
}

// sign makes a token of these claims.
func (s signer) sign(t testing.TB, claims any) string {
	t.Helper()
	return signWith(t, s.alg, jose.JSONWebKey{Key: s.private, KeyID: s.id}, claims)
}

func signWith(t testing.TB, alg jose.SignatureAlgorithm, key, claims any) string {
	t.Helper()
	with, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := with.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// object is a JSON object.
type object = map[string]any

// claimsOf are those that an API server gives to the pod of a workload, for ten minutes from now.
func claimsOf(id spoke.WorkloadID, now time.Time) object {
	return object{
		"iss": issuer, "aud": []string{audience}, "sub": "system:serviceaccount:" + namespace + ":" + account,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(), "jti": "e5f2",
		"kubernetes.io": object{
			"namespace": namespace, "node": object{"name": "n1", "uid": "77"},
			"pod": object{"name": id.String(), "uid": podUID}, "serviceaccount": object{"name": account, "uid": "88"},
		},
	}
}

// with returns the claims with one changed; nil takes it out. A path goes into the claims of Kubernetes.
func with(claims object, path string, value any) object {
	text, _ := json.Marshal(claims)
	var out object
	_ = json.Unmarshal(text, &out) // what was just written
	at, name := out, path
	for {
		head, rest, deeper := strings.Cut(name, "/")
		if !deeper {
			break
		}
		at, name = at[head].(object), rest
	}
	if value == nil {
		delete(at, name)
	} else {
		at[name] = value
	}
	return out
}

// server is an API server as far as it publishes keys. It is reached without a network.
type server struct {
	mu     sync.Mutex
	keys   []jose.JSONWebKey
	status int           // instead of an answer
	body   []byte        // instead of the keys
	away   bool          // refuses connections
	hangs  bool          // never answers
	delay  time.Duration // before an answer
	asked  []time.Time   // for keys
}

func (s *server) set(f func(*server)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.URL.Path == "/.well-known/openid-configuration" {
		s.asked = append(s.asked, time.Now()) // one question are two requests, and this is the first
	}
	if s.delay > 0 || s.hangs {
		delay := s.delay
		if s.hangs {
			delay = time.Hour
		}
		s.mu.Unlock()
		select {
		case <-time.After(delay):
		case <-r.Context().Done():
		}
		s.mu.Lock()
		if err := context.Cause(r.Context()); err != nil {
			return nil, err
		}
	}
	if s.away {
		return nil, errors.New("connection refused")
	}
	status, body := http.StatusOK, s.body
	switch {
	case s.status != 0:
		status = s.status
	case r.URL.Path == "/.well-known/openid-configuration":
		body, _ = json.Marshal(object{"issuer": issuer, "jwks_uri": "https://elsewhere.invalid/jwks"})
	case r.URL.Path != "/openid/v1/jwks":
		status = http.StatusNotFound
	case body == nil:
		body, _ = json.Marshal(jose.JSONWebKeySet{Keys: s.keys})
	}
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Header: http.Header{"Location": {"https://elsewhere.invalid/"}},
		Body: io.NopCloser(bytes.NewReader(body)), Request: r, ProtoMajor: 1, ProtoMinor: 1,
	}, nil
}

// rig is a verifier with its server, one pod and what it logged.
type rig struct {
	*identity.Verifier
	server *server
	id     spoke.WorkloadID
	log    *log

	complete func() error // nil: the informer knows all pods
}

// log is what was logged.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newRig(t testing.TB, keys ...signer) *rig {
	t.Helper()
	r := &rig{server: &server{}, id: workload(1), log: &log{}}
	for _, k := range keys {
		r.server.keys = append(r.server.keys, k.published())
	}
	var err error
	r.Verifier, err = identity.New(identity.Config{
		Rest:     &rest.Config{Host: "https://api.test", Transport: r.server},
		Audience: audience, ServiceAccount: account, Log: slog.New(slog.NewTextHandler(r.log, nil)),
		Complete: func() error {
			if r.complete == nil {
				return nil
			}
			return r.complete()
		},
		Pod: func(name string) (string, string, bool) { return namespace, podUID, name == r.id.String() },
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const session api.SessionID = "01J9Z3T8K5M0N1P2Q3R4S5T6V7"

func workload(attempt uint32) spoke.WorkloadID {
	return spoke.WorkloadID{Session: session, Epoch: api.Epoch{Incarnation: 1, N: 3}, Attempt: attempt}
}

func (r *rig) takes(t testing.TB, token string) {
	t.Helper()
	if err := r.Verify(t.Context(), r.id, token); err != nil {
		t.Errorf("the pod's own token is refused: %v (%v)\n%s", err, errors.Unwrap(err), r.log)
	}
}

func (r *rig) refuses(t testing.TB, token string, code api.Code) {
	t.Helper()
	if err := r.Verify(t.Context(), r.id, token); api.CodeOf(err) != code {
		t.Errorf("verify: %v, want %s\n%s", err, code, r.log)
	}
}
