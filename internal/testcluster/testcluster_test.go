package testcluster

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func TestNamesFitTheirPlaces(t *testing.T) {
	n := names{defaultRoot(), newID()}
	for i := range maxClusters {
		for _, link := range []string{n.bridge(), n.hubLink(i), n.adminLink(i)} {
			if len(link) > 15 || !strings.Contains(link, n.id) {
				t.Errorf("interface %q has %d bytes, want at most 15, with the id %s", link, len(link), n.id)
			}
		}
		n.root = "/" + strings.Repeat("r", 23) // the longest
		if err := checkRoot(n.root); err != nil {
			t.Fatal(err)
		}
		if dir := filepath.Join(n.clusterDir(i), "s"); len(dir) > 42 {
			t.Errorf("the folder of shims' sockets, %s, has %d bytes, want at most 42", dir, len(dir))
		}
	}
	if err := checkRoot("/" + strings.Repeat("r", 24)); err == nil {
		t.Error("a root of 25 bytes was taken")
	}
}

func TestIDsAreNames(t *testing.T) {
	seen := make(map[string]bool)
	for range 1000 {
		id := newID()
		if len(id) != idLength || strings.Trim(id, idLetters) != "" || id[0] < 'a' {
			t.Fatalf("id %q is no name", id)
		}
		seen[id] = true
	}
	if len(seen) < 990 {
		t.Errorf("1000 ids are only %d different ones", len(seen))
	}
}

func TestAnOwnedBedIsNotSwept(t *testing.T) {
	root := t.TempDir()
	id, owned, err := claim(root)
	if err != nil {
		t.Fatal(err)
	}
	defer owned.Close()
	if again, err := tryLock(filepath.Join(root, id, lockFile)); err != nil || again != nil {
		t.Fatalf("the lock of an owned bed was taken again: %v", err)
	}
	if err := owned.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := tryLock(filepath.Join(root, id, lockFile))
	if err != nil || again == nil {
		t.Fatalf("the lock of a dead bed is not free: %v", err)
	}
	_ = again.Close()
}

func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	a, err := newAuthority(dir, "ca")
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddr("10.210.3.11")
	if err := a.issue(subject{file: "kubelet", name: "system:node:n1", groups: []string{"system:nodes"}, hosts: []string{"n1"}, addrs: []netip.Addr{addr}}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "kubelet.crt"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(a.pem)
	for _, host := range []string{"n1", addr.String()} {
		if _, err := cert.Verify(x509.VerifyOptions{DNSName: host, Roots: pool}); err != nil {
			t.Errorf("as server %s: %v", host, err)
		}
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("as client: %v", err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{DNSName: "n2", Roots: pool}); err == nil {
		t.Error("the certificate is good for another host")
	}
	if got := cert.Subject.String(); got != "CN=system:node:n1,O=system:nodes" {
		t.Errorf("its subject is %s", got)
	}
}

func TestAnArchiveHoldsTheImage(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("what it does"), 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	want := Image{Name: ProbeImage, Files: map[string]string{"/probe": program}, Entrypoint: []string{"/probe"}}
	if err := want.WriteArchive(file); err != nil {
		t.Fatal(err)
	}
	image, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(image); err != nil {
		t.Error(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.OS != "linux" || len(config.Config.Entrypoint) != 1 || config.Config.Entrypoint[0] != "/probe" {
		t.Errorf("the image's config is %+v", config)
	}
	want.Name = "no name at all"
	if err := want.WriteArchive(file); err == nil {
		t.Error("an image without a proper name was written")
	}
}

func TestWhatIsMissingIsNamedWithItsRemedy(t *testing.T) {
	err := check(context.Background(), []need{{program: "sh", deb: "dash"}, {program: "no-such-program", deb: "some-package"}})
	if err == nil || !strings.Contains(err.Error(), "no-such-program") || !strings.Contains(err.Error(), "apt-get install some-package") || strings.Contains(err.Error(), "dash") {
		t.Errorf("the error is: %v", err)
	}
}

func TestThePartsChangeWithTheirSources(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "internal/testcluster/a"), 0o755); err != nil {
		t.Fatal(err)
	}
	write("internal/testcluster/build.go", "how")
	write("internal/testcluster/a/go.sum", "one")
	p := part{name: "a", sources: []string{"internal/testcluster/a"}}
	sum := func(version string) string {
		s, err := p.sum(root, version)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := sum("go1")
	if again := sum("go1"); again != first {
		t.Errorf("the same sources have the sums %s and %s", first, again)
	}
	sums := map[string]bool{first: true, sum("go2"): true}
	write("internal/testcluster/a/go.sum", "two")
	sums[sum("go1")] = true
	write("internal/testcluster/build.go", "otherwise")
	sums[sum("go1")] = true
	if len(sums) != 4 {
		t.Errorf("of four different builds only %d have sums of their own", len(sums))
	}
}
