package hub_test

import (
	"crypto/rand"
	"regexp"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

func TestTokensAuthenticate(t *testing.T) {
	w := newWorld(t)
	auth, err := hub.NewAuthenticator(w.store, w.now)
	must(t, err)
	token, hash, err := hub.NewToken(rand.Reader)
	must(t, err)
	if !regexp.MustCompile(`^nave_[-_A-Za-z0-9]{43}$`).MatchString(token) {
		t.Errorf("the token is %q", token)
	}
	_, err = auth.Authenticate(t.Context(), token)
	refused(t, "before it is known", err, api.CodeUnauthenticated, "")
	want := hub.Credential{Org: api.DefaultOrg, Subject: "ci", Role: hub.RoleOperator, ExpiresAt: w.now().Add(time.Minute)}
	must(t, w.store.PutCredential(t.Context(), hash, want))
	for range 2 {
		if got, err := auth.Authenticate(t.Context(), token); err != nil || got != want {
			t.Fatalf("%v, %v", got, err)
		}
	}
	for _, bad := range []string{"", "nave_", token + "A", token[:len(token)-1], "x" + token[1:], "Bearer " + token} {
		_, err := auth.Authenticate(t.Context(), bad)
		refused(t, bad, err, api.CodeUnauthenticated, "")
	}
	w.pass(time.Minute)
	_, err = auth.Authenticate(t.Context(), token)
	refused(t, "expired", err, api.CodeUnauthenticated, "")
}

func TestARevocationWorksWithinFiveSeconds(t *testing.T) {
	w := newWorld(t)
	auth, err := hub.NewAuthenticator(w.store, w.now)
	must(t, err)
	token, hash, err := hub.NewToken(rand.Reader)
	must(t, err)
	must(t, w.store.PutCredential(t.Context(), hash, hub.Credential{Org: api.DefaultOrg, Role: hub.RoleAdmin}))
	_, err = auth.Authenticate(t.Context(), token)
	must(t, err)
	must(t, w.store.PutCredential(t.Context(), hash, hub.Credential{Org: api.DefaultOrg, Role: hub.RoleAdmin, ExpiresAt: w.now()}))
	w.pass(5*time.Second - 1)
	if _, err := auth.Authenticate(t.Context(), token); err != nil {
		t.Errorf("the credential is not remembered: %v", err)
	}
	w.pass(1)
	_, err = auth.Authenticate(t.Context(), token)
	refused(t, "after five seconds", err, api.CodeUnauthenticated, "")
}
