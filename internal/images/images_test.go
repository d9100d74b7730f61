package images

import (
	"archive/tar"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// tiny is an image of a program of a few lines, with a module that the linker puts in.
var tiny = Image{Name: "tiny", Title: "Tiny", Description: "A program.", Programs: []Program{{Name: "tiny", Module: ".", Folder: "."}}}

const tinyMain = `package main

import (
	"fmt"
	"runtime"

	"github.com/google/go-cmp/cmp"
)

func main() {
	_, file, _, _ := runtime.Caller(0)
	fmt.Println("tiny", cmp.Equal(1, 1), file)
}
`

// sources makes the module of the tiny program in a folder of its own.
func sources(t *testing.T) string {
	t.Helper()
	sums, err := os.ReadFile(filepath.Join("..", "..", "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	var sum strings.Builder
	for line := range strings.Lines(string(sums)) {
		if strings.HasPrefix(line, "github.com/google/go-cmp v0.7.0") {
			sum.WriteString(line)
		}
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"main.go": tinyMain, "go.mod": "module example.org/tiny\n\ngo 1.26\n\nrequire github.com/google/go-cmp v0.7.0\n", "go.sum": sum.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// authority writes a certificate that nobody needs to trust.
func authority(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{SerialNumber: big.NewInt(1)}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "bundle.crt")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func stamp(authorities string) Stamp {
	return Stamp{Registry: "127.0.0.1:1/nave", Version: "v1.2.3+own", Revision: "0123abc", Created: time.Unix(1_700_000_000, 0), Authorities: authorities}
}

// made makes the tiny image for both architectures, from sources in a folder of their own.
func made(t *testing.T, s Stamp) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	if err := Make(t.Context(), Config{Sources: sources(t), Out: out, Images: []Image{tiny}, Architectures: Architectures, Stamp: s, Show: t.Output()}); err != nil {
		t.Fatal(err)
	}
	return out
}

// tree is the text of every file below a folder.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		out[name] = string(text)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// differing are the names of what two folders do not have in common.
func differing(one, two map[string]string) []string {
	var out []string
	for name, text := range one {
		if text != two[name] {
			out = append(out, name)
		}
	}
	for name := range two {
		if _, ok := one[name]; !ok {
			out = append(out, name)
		}
	}
	return out
}

func TestTheSameSourcesMakeTheSameImages(t *testing.T) {
	s := stamp(authority(t))
	one := tree(t, made(t, s))
	if len(one) < 10 {
		t.Errorf("%d files: this shows little", len(one))
	}
	if d := differing(one, tree(t, made(t, s))); len(d) > 0 {
		t.Errorf("the same sources in another folder made other files: %v", d)
	}
	later := s
	later.Created = later.Created.Add(time.Second)
	if d := differing(one, tree(t, made(t, later))); len(d) == 0 {
		t.Error("another stamp made the same files: the comparison shows nothing")
	}
}

// read returns the images that the layout's index holds, by architecture, and what refers to them.
func read(t *testing.T, dir string) (map[string]v1.Image, []v1.Descriptor) {
	t.Helper()
	top, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := top.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	index, err := top.ImageIndex(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]v1.Image{}
	for _, d := range inner.Manifests {
		if out[d.Platform.Architecture], err = index.Image(d.Digest); err != nil {
			t.Fatal(err)
		}
	}
	return out, m.Manifests[1:]
}

// files are the entries of an image, with kind and mode, and the content of its program.
func files(t *testing.T, image v1.Image) (map[string]string, []byte) {
	t.Helper()
	content := mutate.Extract(image)
	defer content.Close()
	out, program := map[string]string{}, []byte(nil)
	r := tar.NewReader(content)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out, program
		}
		if err != nil {
			t.Fatal(err)
		}
		out[h.Name] = fmt.Sprintf("%s %d:%d", h.FileInfo().Mode(), h.Uid, h.Gid)
		if h.Name == "tiny" {
			if program, err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestAnImageIsAStaticProgramAndItsAuthorities(t *testing.T) {
	dir := made(t, stamp(authority(t)))
	images, _ := read(t, filepath.Join(dir, "tiny"))
	if len(images) != 2 {
		t.Fatalf("%d images, want one for each of %v", len(images), Architectures)
	}
	for arch, image := range images {
		got, program := files(t, image)
		want := map[string]string{"etc": "drwxr-xr-x 0:0", "etc/ssl": "drwxr-xr-x 0:0", "etc/ssl/certs": "drwxr-xr-x 0:0",
			"etc/ssl/certs/ca-certificates.crt": "-r--r--r-- 0:0", "tiny": "-r-xr-xr-x 0:0"}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: files (-want +got):\n%s", arch, d)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if config.Architecture != arch || config.OS != "linux" || config.Config.User != "65532:65532" || !cmp.Equal(config.Config.Entrypoint, []string{"/tiny"}) {
			t.Errorf("%s: config %+v", arch, config)
		}
		labels := map[string]string{}
		for k, v := range config.Config.Labels {
			labels[strings.TrimPrefix(k, "org.opencontainers.image.")] = v
		}
		if d := cmp.Diff(map[string]string{"title": "Tiny", "description": "A program.", "version": "v1.2.3+own", "revision": "0123abc", "vendor": "Nave", "licenses": "Apache-2.0",
			"source": "https://github.com/nave-dev/nave", "url": "https://github.com/nave-dev/nave", "created": "2023-11-14T22:13:20Z"}, labels); d != "" {
			t.Errorf("%s: labels (-want +got):\n%s", arch, d)
		}
		if arch != runtime.GOARCH {
			continue
		}
		file := filepath.Join(t.TempDir(), "tiny")
		if err := os.WriteFile(file, program, 0o755); err != nil {
			t.Fatal(err)
		}
		if says, err := exec.Command(file).CombinedOutput(); err != nil || !strings.HasPrefix(string(says), "tiny true example.org/tiny/main.go") {
			t.Errorf("the program of the image says %q, %v", says, err)
		}
	}
}

// An archive names its image as containerd looks for it, and its manifest is the one of the layout.
func TestArchivesHoldTheImageOfTheLayout(t *testing.T) {
	dir := made(t, stamp(authority(t)))
	images, _ := read(t, filepath.Join(dir, "tiny"))
	for _, arch := range Architectures {
		f, err := os.Open(filepath.Join(dir, "tiny-"+arch+".tar"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		to := t.TempDir()
		for r := tar.NewReader(f); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			if _, err := io.Copy(&b, r); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(to, h.Name)
			if h.Typeflag == tar.TypeDir {
				err = os.MkdirAll(path, 0o755)
			} else {
				err = os.WriteFile(path, b.Bytes(), 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		index, err := layout.ImageIndexFromPath(to)
		if err != nil {
			t.Fatal(err)
		}
		m, err := index.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		digest, err := images[arch].Digest()
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Manifests) != 1 || m.Manifests[0].Digest != digest || m.Manifests[0].Annotations["io.containerd.image.name"] != "127.0.0.1:1/nave/tiny:v1.2.3-own" {
			t.Errorf("%s: the archive holds %+v, want %s alone", arch, m.Manifests, digest)
		}
		image, err := index.Image(digest)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := files(t, image); len(got) != 5 {
			t.Errorf("%s: the archive's image has the files %v", arch, got)
		}
	}
}

func TestWhatCannotRunIsRefused(t *testing.T) {
	good := authority(t)
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	static := filepath.Join(t.TempDir(), "tiny")
	if err := tiny.Programs[0].Build(t.Context(), sources(t), "arm64", "v1", static); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct{ file, arch, authorities, says string }{
		"a program that needs a loader":       {"/bin/sh", runtime.GOARCH, good, "not static"},
		"a program of another architecture":   {static, "amd64", good, "not for amd64"},
		"an architecture that nobody knows":   {static, "pdp11", good, "want one of amd64, arm64"},
		"a script":                            {empty, "amd64", good, "no Linux program"},
		"a bundle without certificates":       {static, "arm64", empty, "holds no certificate"},
		"a bundle that is not there":          {static, "arm64", empty + "x", "no such file"},
		"no bundle":                           {static, "arm64", "", "no certificates"},
		"a good one, which shows the others":  {static, "arm64", good, ""},
		"a program that is a folder":          {t.TempDir(), "arm64", good, "no Linux program"},
		"a program that has not been made up": {static + "x", "arm64", good, "no such file"},
	} {
		_, err := tiny.Pack(c.arch, map[string]string{"tiny": c.file}, stamp(c.authorities), t.TempDir())
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", what, err, c.says)
		}
	}
}

func TestAMachineWithoutAuthoritiesIsToldWhatToInstall(t *testing.T) {
	if _, err := findAuthorities([]string{filepath.Join(t.TempDir(), "none")}); err == nil || !strings.Contains(err.Error(), "install the package ca-certificates") {
		t.Errorf("without authorities: %v", err)
	}
	file := authority(t)
	if got, err := findAuthorities([]string{filepath.Join(t.TempDir(), "none"), file}); err != nil || got != file {
		t.Errorf("authorities are in %q, %v, want %q", got, err, file)
	}
}
