package hub

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/nave-dev/nave/api"
)

const (
	tokenPrefix     = "nave_"
	credentialTTL   = 5 * time.Second // a revocation works within this
	credentialCache = 10_000          // credentials that are remembered; beyond it all are forgotten
)

// NewToken makes a bearer token, "nave_" and 43 characters, and the hash under which its credential is kept.
func NewToken(random io.Reader) (token string, hash [32]byte, err error) {
	s, _, err := newSecret(random)
	if err != nil {
		return "", hash, err
	}
	token = tokenPrefix + s
	return token, sha256.Sum256([]byte(token)), nil
}

// Authenticator tells whose bearer token it is. It remembers credentials for at most five seconds, counted from before they
// were read. Unknown tokens are not remembered, so a new one works at once. It is safe for concurrent use.
type Authenticator struct {
	store Credentials
	now   func() time.Time

	mu    sync.Mutex
	known map[[32]byte]knownCredential // guarded by mu
}

type knownCredential struct {
	Credential
	until time.Time
}

// NewAuthenticator returns an authenticator. A nil now is time.Now.
func NewAuthenticator(store Credentials, now func() time.Time) (*Authenticator, error) {
	if store == nil {
		return nil, errors.New("authenticator: a store is needed")
	}
	if now == nil {
		now = time.Now
	}
	return &Authenticator{store: store, now: now, known: make(map[[32]byte]knownCredential)}, nil
}

// Authenticate returns the credential of a token. CodeUnauthenticated when it is malformed, unknown or expired.
func (a *Authenticator) Authenticate(ctx context.Context, token string) (Credential, error) {
	if token == "" {
		return Credential{}, api.Errorf(api.CodeUnauthenticated, "no token: send the header \"Authorization: Bearer nave_...\"")
	}
	if rest, ok := strings.CutPrefix(token, tokenPrefix); !ok || len(rest) != secretLength {
		return Credential{}, badToken()
	}
	hash := sha256.Sum256([]byte(token))
	now := a.now()
	c, ok := a.remembered(hash, now)
	if !ok {
		var err error
		if c, err = a.store.Credential(ctx, hash); api.CodeOf(err) == api.CodeNotFound {
			return Credential{}, badToken()
		} else if err != nil {
			return Credential{}, err
		}
		a.remember(hash, knownCredential{c, now.Add(credentialTTL)})
	}
	if !c.ExpiresAt.IsZero() && !now.Before(c.ExpiresAt) {
		return Credential{}, badToken()
	}
	return c, nil
}

// badToken does not tell an unknown token from an expired one.
func badToken() error {
	return api.Errorf(api.CodeUnauthenticated, "the token is malformed, unknown or expired: ask an administrator for a new one")
}

func (a *Authenticator) remembered(hash [32]byte, now time.Time) (Credential, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	k, ok := a.known[hash]
	return k.Credential, ok && now.Before(k.until)
}

func (a *Authenticator) remember(hash [32]byte, k knownCredential) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.known) >= credentialCache {
		clear(a.known)
	}
	a.known[hash] = k
}
