package images

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// names are the annotations by which tools find an image in a layout: containerd goes by the first, others by the tag.
func names(s Stamp, name string) map[string]string {
	return map[string]string{"io.containerd.image.name": s.Reference(name), "org.opencontainers.image.ref.name": s.Tag()}
}

func platform(arch string) v1.Platform { return v1.Platform{OS: "linux", Architecture: arch} }

// WriteArchive writes the image as one file that containerd imports: an OCI layout as a tar file. The digest of its manifest is the
// one that the image has in a layout of several architectures.
func (p *Packed) WriteArchive(file string, s Stamp, scratch string) error {
	dir, err := os.MkdirTemp(scratch, "archive-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	to, err := layout.Write(dir, ociIndex())
	if err != nil {
		return err
	}
	if err := to.AppendImage(p.Image, layout.WithPlatform(platform(p.Architecture)), layout.WithAnnotations(names(s, p.Name))); err != nil {
		return err
	}
	return tarFolder(file, dir, s)
}

func ociIndex() v1.ImageIndex { return mutate.IndexMediaType(empty.Index, types.OCIImageIndex) }

// tarFolder writes the files of a folder, in the order of their names.
func tarFolder(file, dir string, s Stamp) (err error) {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() {
		if e := out.Close(); err == nil {
			err = e
		}
	}()
	w := tar.NewWriter(out)
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		e := entry{path: filepath.ToSlash(name), mode: 0o644}
		if !d.IsDir() {
			e.file = path
		}
		_, err = e.write(w, s.created())
		return err
	}); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return w.Close()
}

// writeLayout writes an OCI layout with one index of all architectures, and the bill of each, which refers to its image.
func writeLayout(dir string, images []*Packed, bills [][]byte, s Stamp) (v1.Hash, error) {
	if err := os.RemoveAll(dir); err != nil {
		return v1.Hash{}, err
	}
	index := ociIndex()
	for _, p := range images {
		at := platform(p.Architecture)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: p.Image, Descriptor: v1.Descriptor{Platform: &at}})
	}
	to, err := layout.Write(dir, ociIndex())
	if err != nil {
		return v1.Hash{}, err
	}
	if err := to.AppendIndex(index, layout.WithAnnotations(names(s, images[0].Name))); err != nil {
		return v1.Hash{}, err
	}
	for i, p := range images {
		if err := attach(to, p, bills[i]); err != nil {
			return v1.Hash{}, fmt.Errorf("attach the bill of materials of %s for %s: %w", p.Name, p.Architecture, err)
		}
	}
	return index.Digest()
}

// attach adds a bill of materials as an artifact whose subject is the image, as the OCI image specification 1.1 says.
func attach(to layout.Path, p *Packed, bill []byte) error {
	subject, err := partial.Descriptor(p.Image)
	if err != nil {
		return err
	}
	nothing, err := blob(to, "application/vnd.oci.empty.v1+json", []byte("{}"))
	if err != nil {
		return err
	}
	content, err := blob(to, BillType, bill)
	if err != nil {
		return err
	}
	content.Annotations = map[string]string{"org.opencontainers.image.title": p.Name + "-" + p.Architecture + ".spdx.json"}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: nothing, Layers: []v1.Descriptor{content}, ArtifactType: BillType,
		Subject: &v1.Descriptor{MediaType: subject.MediaType, Size: subject.Size, Digest: subject.Digest}}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	manifest, err := blob(to, types.OCIManifestSchema1, text)
	if err != nil {
		return err
	}
	manifest.ArtifactType = BillType
	return to.AppendDescriptor(manifest)
}

// blob puts bytes into a layout.
func blob(to layout.Path, as types.MediaType, content []byte) (v1.Descriptor, error) {
	hash, size, err := v1.SHA256(bytes.NewReader(content))
	if err != nil {
		return v1.Descriptor{}, err
	}
	return v1.Descriptor{MediaType: as, Size: size, Digest: hash}, to.WriteBlob(hash, io.NopCloser(bytes.NewReader(content)))
}
