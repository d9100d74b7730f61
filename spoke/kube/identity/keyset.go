package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

// Bounds of what an API server publishes. One that changes its key has two.
const (
	maxKeys    = 64
	minModulus = 2048 // bits
	maxModulus = 8192 // bits: a longer one costs time with every token
	maxIssuer  = 1024 // bytes
)

// key is one that tokens may be signed with.
type key struct {
	public    any // *ecdsa.PublicKey on P-256 or *rsa.PublicKey
	algorithm jose.SignatureAlgorithm
}

// keySet is what an API server says of its tokens.
type keySet struct {
	issuer string
	keys   map[string][]key // by key id
}

// parseKeySet reads the two documents. Keys that no token of ours may be signed with are left out, as the standard says of keys
// that one does not understand; when none is left, that is an error.
func parseKeySet(configuration, published []byte) (*keySet, error) {
	var about struct {
		Issuer string `json:"issuer"`
	}
	if err := json.Unmarshal(configuration, &about); err != nil {
		return nil, fmt.Errorf("read the issuer's configuration: %w", err)
	}
	if about.Issuer == "" || len(about.Issuer) > maxIssuer {
		return nil, fmt.Errorf("the issuer's name has %d bytes, want 1 to %d", len(about.Issuer), maxIssuer)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(published, &set); err != nil {
		return nil, fmt.Errorf("read the key set: %w", err)
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("%d keys are published, at most %d can be read", len(set.Keys), maxKeys)
	}
	s := &keySet{issuer: about.Issuer, keys: make(map[string][]key)}
	for _, raw := range set.Keys {
		if id, k, ok := usable(raw); ok {
			s.keys[id] = append(s.keys[id], k)
		}
	}
	if len(s.keys) == 0 {
		return nil, fmt.Errorf("none of %d published keys is for RS256 or ES256", len(set.Keys))
	}
	return s, nil
}

// usable returns the key and its id, if tokens may be signed with it.
func usable(raw json.RawMessage) (string, key, bool) {
	var k jose.JSONWebKey
	if err := k.UnmarshalJSON(raw); err != nil || k.KeyID == "" || !k.Valid() || k.Use != "" && k.Use != "sig" {
		return "", key{}, false
	}
	out := key{public: k.Key}
	switch public := k.Key.(type) {
	case *ecdsa.PublicKey:
		if public.Curve != elliptic.P256() {
			return "", key{}, false
		}
		out.algorithm = jose.ES256
	case *rsa.PublicKey:
		if n := public.N.BitLen(); n < minModulus || n > maxModulus {
			return "", key{}, false
		}
		out.algorithm = jose.RS256
	default:
		return "", key{}, false
	}
	if k.Algorithm != "" && k.Algorithm != string(out.algorithm) {
		return "", key{}, false
	}
	return k.KeyID, out, true
}
