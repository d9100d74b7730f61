package door

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// verify checks a leaf as a harness does.
func verify(t *testing.T, authority []byte, leaf *x509.Certificate, name string, now time.Time) error {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authority) {
		t.Fatalf("no certificate in %q", authority)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: name, CurrentTime: now})
	return err
}

func TestAuthorityIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spoke")
	a, err := OpenAuthority(dir, "door.example", "10.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	b, err := OpenAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.PEM(), b.PEM()) {
		t.Error("a restart made another authority")
	}
	for _, name := range []string{harnessv1.ServerName, "door.example", "10.0.0.1"} {
		leaf, err := a.Certificate()
		if err != nil {
			t.Fatal(err)
		}
		if err := verify(t, b.PEM(), leaf.Leaf, name, time.Now()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	leaf, err := b.Certificate()
	if err != nil || verify(t, a.PEM(), leaf.Leaf, "door.example", time.Now()) == nil {
		t.Errorf("a name that was not asked for: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("the directory holds %v, %v", entries, err)
	}
	fi, err := os.Stat(filepath.Join(dir, authorityFile))
	if err != nil || fi.Mode() != 0o600 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	if block, rest := pem.Decode(a.PEM()); block.Type != "CERTIFICATE" || len(rest) > 0 {
		t.Error("what harnesses are told is more than a certificate")
	}
	if _, err := a.cert.Verify(x509.VerifyOptions{}); err == nil || !a.cert.MaxPathLenZero {
		t.Error("the authority may make others")
	}
}

// Two that open an empty directory at once have the same authority.
func TestAuthorityIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	got := make(map[string]int)
	g := run.NewGroup(t.Context())
	for range 8 {
		g.Go("open", func(context.Context) error {
			a, err := OpenAuthority(dir)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			got[string(a.PEM())]++
			return nil
		})
	}
	if err := g.Wait(); err != nil || len(got) != 1 {
		t.Errorf("%d authorities, %v", len(got), err)
	}
}

func TestCertificateIsRenewed(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	a, err := openAuthority(t.TempDir(), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	serial := func() string {
		t.Helper()
		c, err := a.Certificate()
		if err != nil {
			t.Fatal(err)
		}
		if err := verify(t, a.PEM(), c.Leaf, harnessv1.ServerName, now); err != nil {
			t.Errorf("at %v: %v", now, err)
		}
		return c.Leaf.SerialNumber.String()
	}
	first := serial()
	now = now.Add(leafLife*2/3 - time.Minute)
	if serial() != first {
		t.Error("it was renewed before two thirds of its life")
	}
	now = now.Add(2 * time.Minute)
	second := serial()
	if second == first {
		t.Error("it was not renewed after two thirds of its life")
	}
	now = a.cert.NotAfter.Add(-time.Hour)
	serial() // lives no longer than the authority
	now = a.cert.NotAfter.Add(time.Hour)
	c, err := a.Certificate()
	if err == nil && verify(t, a.PEM(), c.Leaf, harnessv1.ServerName, now) == nil {
		t.Error("a certificate outlives the authority")
	}
}

// A file that is damaged stays as it is, and the error says what can be done.
func TestDamagedAuthority(t *testing.T) {
	dir := t.TempDir()
	a, err := OpenAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, authorityFile)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	otherDir := t.TempDir()
	if _, err := OpenAuthority(otherDir); err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(filepath.Join(otherDir, authorityFile))
	if err != nil {
		t.Fatal(err)
	}
	cert, key, _ := bytes.Cut(good, []byte("-----END CERTIFICATE-----\n"))
	otherCert, _, _ := bytes.Cut(other, []byte("-----END CERTIFICATE-----\n"))
	end := []byte("-----END CERTIFICATE-----\n")
	leaf, err := a.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"empty": {}, "cut off": good[:len(good)/2], "without its key": append(bytes.Clone(cert), end...), "without its certificate": key,
		"another's key": bytes.Join([][]byte{otherCert, end, key}, nil), "twice": append(bytes.Clone(good), good...),
		"not an authority": append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Certificate[0]}), key...),
		"garbage in it":    bytes.Replace(good, []byte("MII"), []byte("MIX"), 1),
	} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := OpenAuthority(dir)
		if api.CodeOf(err) != api.CodeFailed || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "bring the file back") {
			t.Errorf("%s: %v", name, err)
		}
		if now, err := os.ReadFile(path); err != nil || !cmp.Equal(now, text) {
			t.Errorf("%s: the file was changed: %v", name, err)
		}
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openAuthority(dir, func() time.Time { return time.Now().Add(authorityLife + time.Hour) }); api.CodeOf(err) != api.CodeFailed || !strings.Contains(err.Error(), "valid until") {
		t.Errorf("one that has expired: %v", err)
	}
	if b, err := OpenAuthority(dir); err != nil || !bytes.Equal(a.PEM(), b.PEM()) {
		t.Errorf("once the file is back: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil { // it cannot be read
		t.Fatal(err)
	}
	if _, err := OpenAuthority(dir); err == nil {
		t.Error("a directory was taken for an authority")
	}
}
