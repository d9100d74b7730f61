package ziti_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/transport/ziti"
	"github.com/nave-dev/nave/transport/ziti/zititest"
)

func TestManager(t *testing.T) {
	n := zititest.Start(t)
	t.Run("identities", func(t *testing.T) { identities(t, n) })
	t.Run("enrollment", func(t *testing.T) { enrollment(t, n) })
	t.Run("session", func(t *testing.T) { session(t, n) })
	t.Run("pages", func(t *testing.T) { manyIdentities(t, n) })
	t.Run("login", func(t *testing.T) { login(t, n) })
}

func identities(t *testing.T, n *zititest.Network) {
	ctx := zititest.Context(t, time.Minute)
	if err := n.Manager.EnsureNetwork(ctx); err != nil {
		t.Errorf("EnsureNetwork again: %v", err)
	}
	spec := ziti.IdentitySpec{Name: `spoke "x"`, Roles: []string{ziti.RoleSpoke}}
	id, token, err := n.Manager.CreateIdentity(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	again, token2, err := n.Manager.CreateIdentity(ctx, spec)
	if err != nil || again != id || token2 != token {
		t.Errorf("CreateIdentity again = %s, %v, want the same id %s and token", again, err, id)
	}
	key, err := ziti.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ziti.Enroll(ctx, ziti.Enrollment{Token: token, Key: key, CA: n.CA}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := n.Manager.CreateIdentity(ctx, spec); !errors.Is(err, ziti.ErrExists) {
		t.Errorf("CreateIdentity after the enrollment = %v, want ErrExists", err)
	}
	spec.Replace = true
	replaced, _, err := n.Manager.CreateIdentity(ctx, spec)
	if err != nil || replaced == id {
		t.Errorf("CreateIdentity with Replace = %s, %v, want another id than %s", replaced, err, id)
	}
	got, err := n.Manager.Identities(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]ziti.Identity{{ID: replaced, Name: spec.Name}}, got); d != "" {
		t.Errorf("identities (-want +got):\n%s", d)
	}
	for range 2 { // the second finds nothing
		if err := n.Manager.DeleteIdentity(ctx, replaced); err != nil {
			t.Errorf("DeleteIdentity: %v", err)
		}
	}
	if got, err := n.Manager.Identities(ctx); err != nil || len(got) != 0 {
		t.Errorf("identities after the deletion = %v, %v, want none", got, err)
	}
	var foreign *ziti.ForeignError
	_, _, err = n.Manager.CreateIdentity(ctx, ziti.IdentitySpec{Name: "Nave", Replace: true}) // the administrator's name
	if !errors.As(err, &foreign) {
		t.Errorf("replacing the administrator = %v, want a ForeignError", err)
	}
}

func enrollment(t *testing.T, n *zititest.Network) {
	ctx := zititest.Context(t, time.Minute)
	_, token, err := n.Manager.CreateIdentity(ctx, ziti.IdentitySpec{Name: "enrollment", Roles: []string{ziti.RoleSpoke}})
	if err != nil {
		t.Fatal(err)
	}
	key, err := ziti.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		e    ziti.Enrollment
		want string
	}{
		"no authority":      {ziti.Enrollment{Token: token, Key: key}, "CA"},
		"no key":            {ziti.Enrollment{Token: token, CA: n.CA}, "Key"},
		"another authority": {ziti.Enrollment{Token: token, Key: key, CA: otherCA(t)}, "not of the given authority"},
		"a changed token":   {ziti.Enrollment{Token: token[:len(token)-8] + "AAAAAAAA", Key: key, CA: n.CA}, "check token"},
	} {
		if _, err := ziti.Enroll(ctx, tc.e); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: Enroll = %v, want an error with %q", name, err, tc.want)
		}
	}
	// None of those has used the token up.
	identity, err := ziti.Enroll(ctx, ziti.Enrollment{Token: token, Key: key, CA: n.CA})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(identity), strings.ReplaceAll(strings.TrimSpace(string(key)), "\n", `\n`)) {
		t.Error("the identity does not hold the caller's key")
	}
	if _, err := ziti.Enroll(ctx, ziti.Enrollment{Token: token, Key: key, CA: n.CA}); err == nil {
		t.Error("a token was used twice")
	}
}

func session(t *testing.T, n *zititest.Network) {
	n.Manager.ForgetSession()
	if _, err := n.Manager.Identities(zititest.Context(t, 20*time.Second)); err != nil {
		t.Errorf("a request after the session's end: %v", err)
	}
}

func manyIdentities(t *testing.T, n *zititest.Network) {
	ctx := zititest.Context(t, 2*time.Minute)
	before, err := n.Manager.Identities(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for i := range 105 { // a page holds 100
		id, _, err := n.Manager.CreateIdentity(ctx, ziti.IdentitySpec{Name: fmt.Sprintf("many-%d", i), Roles: []string{ziti.RoleSpoke}})
		if err != nil {
			t.Fatal(err)
		}
		want[id] = true
	}
	for _, id := range before {
		want[id.ID] = true
	}
	all, err := n.Manager.Identities(ctx)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, id := range all {
		got[id.ID] = true
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("identities (-want +got):\n%s", d)
	}
}

func login(t *testing.T, n *zititest.Network) {
	good := ziti.ManagerConfig{Controller: n.Controller, User: n.User, Password: n.Password, CA: n.CA}
	for name, tc := range map[string]struct {
		change func(*ziti.ManagerConfig)
		want   string
	}{
		"wrong password":    {func(c *ziti.ManagerConfig) { c.Password += "x" }, "log in"},
		"another authority": {func(c *ziti.ManagerConfig) { c.CA = otherCA(t) }, "log in"},
		"no authority":      {func(c *ziti.ManagerConfig) { c.CA = nil }, "CA"},
		"not https":         {func(c *ziti.ManagerConfig) { c.Controller = "http://127.0.0.1:1" }, "Controller"},
	} {
		cfg := good
		tc.change(&cfg)
		if _, err := ziti.Login(zititest.Context(t, 20*time.Second), cfg); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: Login = %v, want an error with %q", name, err, tc.want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := ziti.Login(ctx, good); !errors.Is(err, context.Canceled) {
		t.Errorf("Login with an ended context = %v, want context.Canceled", err)
	}
}

// otherCA is the authority of nobody here.
func otherCA(t *testing.T) []byte {
	t.Helper()
	_, cert := selfSignedPair(t, "another authority")
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
}
