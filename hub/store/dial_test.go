package store_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub/store"
	"github.com/nave-dev/nave/hub/store/storetest"
	"github.com/nave-dev/nave/internal/etcdtest"
)

// authority makes certificates below one folder.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	a.cert = &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.write(t, "ca", a.cert, a.key)
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// issue makes name.pem and name-key.pem, good for 127.0.0.1.
func (a *authority) issue(t *testing.T, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, name, &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, key)
}

func (a *authority) write(t *testing.T, name string, c *x509.Certificate, key *ecdsa.PrivateKey) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + "-key.pem": {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(a.file(file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func refuses(t *testing.T, what string, cfg store.DialConfig, code api.Code, field string) {
	t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	if cfg.Timeout == 0 {
		cfg.Timeout = 4 * time.Second
	}
	began := time.Now()
	c, err := store.Dial(t.Context(), cfg)
	if err == nil {
		_ = c.Close()
	}
	if api.CodeOf(err) != code || api.FieldOf(err) != field {
		t.Errorf("%s = %v (code %q, field %q), want code %q of %s", what, err, api.CodeOf(err), api.FieldOf(err), code, field)
	}
	if took := time.Since(began); took > cfg.Timeout+time.Second {
		t.Errorf("%s took %v", what, took)
	}
}

func TestDialRefusesConfigs(t *testing.T) {
	ok := []string{"https://127.0.0.1:1"}
	a := newAuthority(t)
	a.issue(t, "one")
	a.issue(t, "two")
	empty := a.file("empty")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		field string
		cfg   store.DialConfig
	}{
		{"endpoints", store.DialConfig{}},
		{"endpoints", store.DialConfig{Endpoints: make([]string, 17)}},
		{"endpoints[0]", store.DialConfig{Endpoints: []string{"127.0.0.1:2379"}}},
		{"endpoints[0]", store.DialConfig{Endpoints: []string{"https://127.0.0.1"}}},
		{"endpoints[0]", store.DialConfig{Endpoints: []string{"https://127.0.0.1:1/v3"}}},
		{"endpoints[0]", store.DialConfig{Endpoints: []string{"ftp://127.0.0.1:1"}}},
		{"endpoints[1]", store.DialConfig{Endpoints: []string{"https://127.0.0.1:1", "http://127.0.0.1:2"}}},
		{"ca_file", store.DialConfig{Endpoints: ok, CAFile: a.file("none")}},
		{"ca_file", store.DialConfig{Endpoints: ok, CAFile: empty}},
		{"ca_file", store.DialConfig{Endpoints: []string{"http://127.0.0.1:1"}, CAFile: a.file("ca.pem")}},
		{"cert_file", store.DialConfig{Endpoints: ok, KeyFile: a.file("one-key.pem")}},
		{"key_file", store.DialConfig{Endpoints: ok, CertFile: a.file("one.pem")}},
		{"cert_file", store.DialConfig{Endpoints: ok, CertFile: a.file("one.pem"), KeyFile: a.file("two-key.pem")}},
		{"user", store.DialConfig{Endpoints: ok, Password: "x"}},
		{"password", store.DialConfig{Endpoints: ok, User: "x"}},
		{"password_file", store.DialConfig{Endpoints: ok, User: "x", PasswordFile: a.file("none")}},
		{"password_file", store.DialConfig{Endpoints: ok, User: "x", Password: "x", PasswordFile: empty}},
		{"timeout", store.DialConfig{Endpoints: ok, Timeout: 2 * time.Minute}},
	} {
		refuses(t, tt.field, tt.cfg, api.CodeInvalid, tt.field)
	}
}

func TestDialWhereNoEtcdIs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	_ = l.Close()
	refuses(t, "a closed port", store.DialConfig{Endpoints: []string{"http://" + closed}}, api.CodeUnavailable, "endpoints")
	refuses(t, "a missing socket", store.DialConfig{Endpoints: []string{"unix://" + filepath.Join(t.TempDir(), "s")}}, api.CodeUnavailable, "endpoints")

	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	for _, scheme := range []string{"http://", "https://"} {
		refuses(t, "who says nothing, "+scheme, store.DialConfig{Endpoints: []string{scheme + silent.Addr().String()}, Timeout: time.Second}, api.CodeUnavailable, "endpoints")
	}
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	refuses(t, "a web server", store.DialConfig{Endpoints: []string{web.URL}, Timeout: time.Second}, api.CodeUnavailable, "endpoints")
	refuses(t, "TLS where there is none", store.DialConfig{Endpoints: []string{strings.Replace(web.URL, "http:", "https:", 1)}}, api.CodeInvalid, "endpoints")
}

// TestDialTLSAndUsers goes through an etcd that wants certificates and then users.
func TestDialTLSAndUsers(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	a.issue(t, "member")
	a.issue(t, "hub")
	stranger.issue(t, "hub")
	c := members(t, etcdtest.Config{Members: 1, CertFile: a.file("member.pem"), KeyFile: a.file("member-key.pem"), CAFile: a.file("ca.pem")})
	good := store.DialConfig{Endpoints: c.Endpoints(), CAFile: a.file("ca.pem"), CertFile: a.file("hub.pem"), KeyFile: a.file("hub-key.pem")}
	with := func(change func(*store.DialConfig)) store.DialConfig {
		cfg := good
		change(&cfg)
		return cfg
	}
	refuses(t, "http where it wants TLS", store.DialConfig{Endpoints: []string{strings.Replace(c.Endpoints()[0], "https:", "http:", 1)}, Timeout: 2 * time.Second}, api.CodeUnavailable, "endpoints")
	refuses(t, "another authority", with(func(d *store.DialConfig) { d.CAFile = stranger.file("ca.pem") }), api.CodeInvalid, "ca_file")
	refuses(t, "no authority", with(func(d *store.DialConfig) { d.CAFile = "" }), api.CodeInvalid, "ca_file")
	refuses(t, "another name", with(func(d *store.DialConfig) {
		d.Endpoints = []string{strings.Replace(c.Endpoints()[0], "127.0.0.1", "localhost", 1)}
	}), api.CodeInvalid, "endpoints")
	refuses(t, "no certificate", with(func(d *store.DialConfig) { d.CertFile, d.KeyFile = "", "" }), api.CodeDenied, "cert_file")
	refuses(t, "a stranger's certificate", with(func(d *store.DialConfig) {
		d.CertFile, d.KeyFile = stranger.file("hub.pem"), stranger.file("hub-key.pem")
	}), api.CodeDenied, "cert_file")

	admin := dial(t, good)
	separate(t, admin, "")
	for _, user := range []string{"root", "nave", "other"} {
		if _, err := admin.UserAdd(t.Context(), user, user+"'s"); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{
		second(admin.RoleAdd(t.Context(), "nave")),
		second(admin.RoleGrantPermission(t.Context(), "nave", "/nave/", clientv3.GetPrefixRangeEnd("/nave/"), clientv3.PermissionType(clientv3.PermReadWrite))),
		second(admin.UserGrantRole(t.Context(), "nave", "nave")),
		second(admin.RoleAdd(t.Context(), "root")),
		second(admin.UserGrantRole(t.Context(), "root", "root")),
		second(admin.AuthEnable(t.Context())),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	refuses(t, "a wrong password", with(func(d *store.DialConfig) { d.User, d.Password = "nave", "wrong" }), api.CodeDenied, "password")
	refuses(t, "an unknown user", with(func(d *store.DialConfig) { d.User, d.Password = "nobody", "x" }), api.CodeDenied, "password")
	secret := a.file("secret")
	if err := os.WriteFile(secret, []byte("nave's\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	nave := with(func(d *store.DialConfig) { d.User, d.PasswordFile = "nave", secret })
	s := separate(t, dial(t, nave), "")
	if _, err := s.Claim(t.Context(), 1); err != nil {
		t.Fatalf("Claim as a user: %v", err)
	}
	other := dial(t, with(func(d *store.DialConfig) { d.User, d.Password = "other", "other's" }))
	_, err := store.Open(t.Context(), store.Config{Client: other, Codec: storetest.JSONCodec{}})
	if api.CodeOf(err) != api.CodeDenied || !strings.Contains(err.Error(), "grant") {
		t.Errorf("Open as a user without a right = %v, want CodeDenied with a remedy", err)
	}
	// The user's token ends, the certificate is replaced, and the member begins anew: the same client goes on.
	a.issue(t, "hub")
	if err := c.Kill(0); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err = s.Claim(ctx, 1)
	for err != nil && ctx.Err() == nil {
		_, err = s.Claim(ctx, 1)
	}
	if err != nil {
		t.Fatalf("Claim after the restart: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }
