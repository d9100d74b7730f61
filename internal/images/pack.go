package images

import (
	"archive/tar"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Bundle is where Go's programs look for public authorities.
const Bundle = "etc/ssl/certs/ca-certificates.crt"

const source = "https://github.com/" + repository

const repository = "nave-dev/nave"

// Packed is an image of one architecture.
type Packed struct {
	v1.Image
	Name         string
	Architecture string
	Unpacked     int64 // bytes of its files
	Compressed   int64 // bytes of its layers
}

// Pack makes an image of programs that are built: files are their paths on this machine, by name. What is in scratch must stay
// as long as the image is used.
func (i Image) Pack(arch string, files map[string]string, s Stamp, scratch string) (*Packed, error) {
	out := &Packed{Name: i.Name, Architecture: arch}
	if err := checkAuthorities(s.Authorities); err != nil {
		return nil, err
	}
	trust := []entry{{"etc", "", 0}, {"etc/ssl", "", 0}, {"etc/ssl/certs", "", 0}, {Bundle, s.Authorities, 0o444}}
	var programs []entry
	for _, p := range i.Programs {
		if err := checkProgram(files[p.Name], arch); err != nil {
			return nil, err
		}
		programs = append(programs, entry{p.Name, files[p.Name], 0o555})
	}
	var layers []v1.Layer
	for _, entries := range [][]entry{trust, programs} { // what changes least comes first
		layer, size, err := layerOf(entries, s.created(), scratch)
		if err != nil {
			return nil, err
		}
		compressed, err := layer.Size()
		if err != nil {
			return nil, err
		}
		layers, out.Unpacked, out.Compressed = append(layers, layer), out.Unpacked+size, out.Compressed+compressed
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.AppendLayers(base, layers...)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created, config.History = "linux", arch, v1.Time{Time: s.created()}, nil
	config.Config = v1.Config{User: fmt.Sprintf("%d:%d", User, User), Entrypoint: []string{"/" + i.Programs[0].Name}, Env: []string{"PATH=/"},
		WorkingDir: "/", Labels: i.labels(s)}
	out.Image, err = mutate.ConfigFile(image, config)
	return out, err
}

// labels are the names that OCI has agreed on.
func (i Image) labels(s Stamp) map[string]string {
	const oci = "org.opencontainers.image."
	out := map[string]string{oci + "title": i.Title, oci + "description": i.Description, oci + "version": s.Version, oci + "source": source,
		oci + "url": source, oci + "vendor": "Nave", oci + "licenses": "Apache-2.0", oci + "created": s.created().Format(time.RFC3339)}
	if s.Revision != "" {
		out[oci+"revision"] = s.Revision
	}
	return out
}

// entry is a file of an image, or a folder when there is no file.
type entry struct {
	path string // without the leading slash
	file string // on this machine
	mode int64
}

// layerOf writes the entries, which belong to root and cannot be changed by whom the programs run as, and returns them as a layer
// and the size of the files.
func layerOf(entries []entry, at time.Time, scratch string) (v1.Layer, int64, error) {
	f, err := os.CreateTemp(scratch, "layer-*.tar")
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	var size int64
	for _, e := range entries {
		n, err := e.write(w, at)
		if err != nil {
			return nil, 0, fmt.Errorf("put %s into the image: %w", e.path, err)
		}
		size += n
	}
	if err := w.Close(); err != nil {
		return nil, 0, err
	}
	layer, err := tarball.LayerFromFile(f.Name(), tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
	return layer, size, err
}

func (e entry) write(w *tar.Writer, at time.Time) (int64, error) {
	h := &tar.Header{Name: e.path, Mode: e.mode, ModTime: at, Format: tar.FormatUSTAR}
	if e.file == "" {
		h.Name, h.Typeflag, h.Mode = e.path+"/", tar.TypeDir, 0o755
		return 0, w.WriteHeader(h)
	}
	f, err := os.Open(e.file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if h.Size = info.Size(); !info.Mode().IsRegular() {
		return 0, fmt.Errorf("%s is no file", e.file)
	}
	if err := w.WriteHeader(h); err != nil {
		return 0, err
	}
	return io.Copy(w, f)
}

// checkAuthorities refuses a file that holds no certificate: a program would trust nobody, and say so only when it runs.
func checkAuthorities(file string) error {
	if file == "" {
		return fmt.Errorf("no certificates of public authorities are named")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("certificates of public authorities: %w", err)
	}
	for n := 1; ; n++ {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil && n == 1 {
			return fmt.Errorf("%s holds no certificate", file)
		} else if block == nil {
			return nil
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil || block.Type != "CERTIFICATE" {
			return fmt.Errorf("%s: block %s is no certificate: %v", file, strconv.Itoa(n), err)
		}
	}
}

// mebibytes renders a size for people.
func mebibytes(n int64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/(1<<20)), ".0") + " MiB"
}
