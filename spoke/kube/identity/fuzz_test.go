package identity_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/kube/identity"
)

// FuzzToken: nothing but what was signed for the pod is taken, and no refusal repeats what it refuses.
func FuzzToken(f *testing.F) {
	key := newSigner(f, "k1", jose.ES256)
	r := newRig(f, key)
	good := key.sign(f, claimsOf(r.id, time.Now().Add(time.Minute)))
	signed := good[:strings.LastIndexByte(good, '.')+1]
	for _, seed := range []string{
		good, "", "a.b.c", "..", signed, strings.Repeat("a.", 100), `{"payload":"e30","signatures":[]}`,
		key.sign(f, with(claimsOf(r.id, time.Now()), "aud", "elsewhere")),
		newSigner(f, "k1", jose.ES256).sign(f, claimsOf(r.id, time.Now())),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		err := r.Verify(t.Context(), r.id, token)
		switch code := api.CodeOf(err); {
		case err == nil && !strings.HasPrefix(token, signed): // the signature itself has several forms
			t.Errorf("a token that nobody signed is taken: %q", token)
		case err != nil && code != api.CodeUnauthenticated && code != api.CodeUnavailable:
			t.Errorf("verify: %v", err)
		case err != nil && len(token) > 20 && strings.Contains(err.Error(), token):
			t.Errorf("the error repeats the token: %v", err)
		}
	})
}

// FuzzKeySet: refused, or keys of two kinds within their bounds.
func FuzzKeySet(f *testing.F) {
	about := []byte(`{"issuer":"https://kubernetes.default.svc"}`)
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{newSigner(f, "k1", jose.ES256).published(), newSigner(f, "k2", jose.RS256).published()}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(about, keys)
	f.Add(about, []byte(`{"keys":[]}`))
	f.Add(about, []byte(`{"keys":[{"kty":"oct","k":"c2VjcmV0","kid":"k1","alg":"HS256"},{"kty":"OKP","crv":"Ed25519","kid":"k2"}]}`))
	f.Add(about, []byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"k1"},null,1]}`))
	f.Add([]byte(`{"issuer":""}`), keys)
	f.Add([]byte(`[]`), keys)
	f.Fuzz(func(t *testing.T, configuration, published []byte) {
		if broken, _ := identity.CheckKeySet(configuration, published); broken != nil {
			t.Error(broken)
		}
	})
}
