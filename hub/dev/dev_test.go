package dev_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub/dev"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, path string) *dev.Directory {
	t.Helper()
	d, err := dev.Open(path)
	must(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

// files returns every file below a directory with its content.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all[path] = string(b)
		return err
	}))
	return all
}

func TestADirectoryBelongsToOneHub(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "hub")
	first := open(t, path)
	if !first.Fresh {
		t.Error("a new directory is not fresh")
	}
	_, err := dev.Open(path)
	if api.CodeOf(err) != api.CodeFailed || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("a second hub: %v", err)
	}
	must(t, first.Close())
	if again := open(t, path); again.Fresh {
		t.Error("a directory that was made before is fresh")
	}
}

func TestForeignDirectoriesAreRefusedAndUntouched(t *testing.T) {
	for what, tt := range map[string]struct {
		file, content string
		code          api.Code
	}{
		"somebody's files": {"thesis.tex", "x", api.CodeFailed},
		"another program":  {"nave.json", `{"kind":"nave-spoke","format":1}`, api.CodeFailed},
		"not JSON":         {"nave.json", "x", api.CodeFailed},
		"a newer format":   {"nave.json", `{"kind":"nave-hub-dev","format":2}`, api.CodeUnsupported},
	} {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, tt.file), []byte(tt.content), 0o644))
		before := files(t, dir)
		_, err := dev.Open(dir)
		if api.CodeOf(err) != tt.code || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", what, err)
		}
		after := files(t, dir)
		if len(after) != len(before) || after[filepath.Join(dir, tt.file)] != tt.content {
			t.Errorf("%s: the directory has %v now", what, after)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if _, err := dev.Open(file); err == nil {
		t.Error("a file was taken for a directory")
	}
}

// A start that died before it wrote what the directory is left only its lock.
func TestAHalfMadeDirectoryIsMadeAnew(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "hub.lock"), nil, 0o600))
	if d := open(t, dir); !d.Fresh {
		t.Error("not fresh")
	}
	other := t.TempDir()
	must(t, os.WriteFile(filepath.Join(other, ".nave.json-123"), []byte("{"), 0o600))
	if d := open(t, other); !d.Fresh {
		t.Error("not fresh")
	}
}

func TestWhatWasChosenStays(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	if p, err := d.Ports(); err != nil || p != (dev.Ports{}) {
		t.Errorf("ports of a new directory: %v %v", p, err)
	}
	if b, err := d.Identity(); err != nil || b != nil {
		t.Errorf("identity of a new directory: %q %v", b, err)
	}
	ports := dev.Ports{HTTP: "127.0.0.1:1", GRPC: "127.0.0.1:2"}
	must(t, d.SavePorts(ports))
	must(t, d.SaveIdentity([]byte("identity")))
	token, err := d.AdminToken()
	must(t, err)
	_, ca, err := d.ServerTLS(time.Now())
	must(t, err)
	must(t, d.Close())

	d = open(t, dir)
	if p, err := d.Ports(); err != nil || p != ports {
		t.Errorf("ports %v %v", p, err)
	}
	if b, err := d.Identity(); err != nil || string(b) != "identity" {
		t.Errorf("identity %q %v", b, err)
	}
	if again, err := d.AdminToken(); err != nil || again != token || token == "" {
		t.Errorf("token %q, was %q: %v", again, token, err)
	}
	if _, again, err := d.ServerTLS(time.Now()); err != nil || !bytes.Equal(again, ca) {
		t.Errorf("the authority changed: %v", err)
	}
	for path := range files(t, dir) {
		info, err := os.Stat(path)
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
	}
}

func TestServerCertificatesAreVerifiedByTheAuthority(t *testing.T) {
	d := open(t, t.TempDir())
	config, ca, err := d.ServerTLS(time.Now(), "10.1.2.3", "hub.example", "fd00::1", "")
	must(t, err)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		t.Fatalf("no certificate in %s", ca)
	}
	leaf, err := x509.ParseCertificate(config.Certificates[0].Certificate[0])
	must(t, err)
	for _, name := range []string{"127.0.0.1", "::1", "localhost", "10.1.2.3", "fd00::1", "hub.example"} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"10.1.2.4", "evil.example"} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: name}); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if len(config.Certificates[0].Certificate) != 2 || config.MinVersion != tls.VersionTLS13 {
		t.Errorf("%d certificates, minimum version %x: the authority must go along", len(config.Certificates[0].Certificate), config.MinVersion)
	}
	other, _, err := open(t, t.TempDir()).ServerTLS(time.Now())
	must(t, err)
	stranger, err := x509.ParseCertificate(other.Certificates[0].Certificate[0])
	must(t, err)
	if _, err := stranger.Verify(x509.VerifyOptions{Roots: pool, DNSName: "localhost"}); err == nil {
		t.Error("another authority's certificate is accepted")
	}
}

// A start that died between the authority's key and its certificate told nobody of either.
func TestAnAuthorityWithoutItsCertificateIsMadeAnew(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	_, _, err := d.ServerTLS(time.Now())
	must(t, err)
	must(t, os.Remove(filepath.Join(dir, "ca.pem")))
	config, ca, err := d.ServerTLS(time.Now())
	must(t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	leaf, err := x509.ParseCertificate(config.Certificates[0].Certificate[0])
	must(t, err)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: "localhost"}); err != nil {
		t.Error(err)
	}
	// A certificate without its key was pinned by clients: it must not be replaced in silence.
	must(t, os.Remove(filepath.Join(dir, "ca.key")))
	if _, _, err := d.ServerTLS(time.Now()); err == nil {
		t.Error("an authority that lost its key was made anew: every client that pins it is cut off without a word")
	}
}
