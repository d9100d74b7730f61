package testcluster

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Registry is where images of tests say that they come from. It refuses every connection at once; a name that resolves nowhere
// would cost seconds.
const Registry = "127.0.0.1:1"

// Images that every node has.
const (
	PauseImage = Registry + "/testcluster/pause:1" // the first process of each pod
	ProbeImage = Registry + "/testcluster/probe:1" // asks an HTTP server again and again; its argument is the address
)

// Image is an image made of static programs and nothing else.
type Image struct {
	Name       string            // with registry and tag
	Files      map[string]string // path in the image -> file on this machine; all become executable
	Entrypoint []string
}

// WriteArchive writes the image as a tar file that LoadImage takes.
func (i Image) WriteArchive(file string) error {
	tag, err := name.NewTag(i.Name)
	if err != nil {
		return err
	}
	content, err := i.layer()
	if err != nil {
		return err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
	if err != nil {
		return err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config = v1.Config{Entrypoint: i.Entrypoint, Env: []string{"PATH=/"}}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return err
	}
	if err := tarball.WriteToFile(file, tag, image); err != nil {
		return fmt.Errorf("write the image %s: %w", i.Name, err)
	}
	return nil
}

// layer is the file system: the folders that a runtime mounts on, and the files.
func (i Image) layer() ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, dir := range []string{"dev/", "etc/", "proc/", "sys/", "tmp/"} {
		mode := int64(0o755)
		if dir == "tmp/" {
			mode = 0o1777
		}
		if err := w.WriteHeader(&tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: mode}); err != nil {
			return nil, err
		}
	}
	var paths []string
	for p := range i.Files {
		paths = append(paths, p)
	}
	slices.Sort(paths) // the same files make the same image
	for _, p := range paths {
		content, err := os.ReadFile(i.Files[p])
		if err != nil {
			return nil, err
		}
		if err := w.WriteHeader(&tar.Header{Name: strings.TrimPrefix(path.Clean(p), "/"), Mode: 0o755, Size: int64(len(content))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}
