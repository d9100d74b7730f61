package charts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// helmLimit bounds one run of helm, which takes a tenth of a second.
const helmLimit = time.Minute

// Case is one way in which a chart is installed.
type Case struct {
	Chart     string // folder in charts/
	Name      string // what is special about it
	Release   string
	Namespace string
	// Open says that the namespace must allow more than the restricted pod security standard.
	Open bool
}

// Cases are the ways that are rendered, kept and given to an API server.
func Cases() []Case {
	return []Case{
		{Chart: "nave-spoke", Name: "defaults", Release: "nave-spoke", Namespace: "nave-system"},
		{Chart: "nave-spoke", Name: "all", Release: "eu", Namespace: "agents"},
		{Chart: "nave-spoke", Name: "manage", Release: "nave-spoke", Namespace: "nave-system"},
		{Chart: "nave-hub", Name: "defaults", Release: "nave-hub", Namespace: "nave-hub"},
		{Chart: "nave-hub", Name: "all", Release: "prod", Namespace: "nave-hub"},
		{Chart: "nave-hub", Name: "external", Release: "nave-hub", Namespace: "nave-hub"},
		{Chart: "nave-hub", Name: "balanced", Release: "nave-hub", Namespace: "nave-hub"},
		{Chart: "nave-hub", Name: "nodeport", Release: "nave-hub", Namespace: "nave-hub"},
		{Chart: "nave-hub", Name: "node", Release: "nave-hub", Namespace: "nave-hub-node", Open: true},
	}
}

// String is the name of the case's files.
func (c Case) String() string { return c.Chart + "-" + c.Name }

// Folder is the folder of the chart in the repository.
func (c Case) Folder(root string) string { return filepath.Join(root, "charts", c.Chart) }

// Values is the file of values of the case.
func (c Case) Values(root string) string {
	return filepath.Join(root, "internal", "charts", "testdata", c.String()+".values.yaml")
}

// Helm is the helm program.
type Helm struct {
	Path string // of the program
	Home string // folder that takes the place of the user's; helm writes there
}

// Rendered is what a chart makes of values.
type Rendered struct {
	Manifest string // YAML documents, in the order in which they are installed
	Notes    string // what a person is told
}

// Render renders a chart, a folder or a package, for a release. args are further arguments of helm install.
func (h Helm) Render(ctx context.Context, chart, release, namespace string, args ...string) (Rendered, error) {
	out, err := h.Run(ctx, append([]string{"install", release, chart, "--namespace", namespace, "--dry-run=client", "--output", "json"}, args...)...)
	if err != nil {
		return Rendered{}, err
	}
	var answer struct {
		Info     struct{ Notes string }
		Manifest string
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		return Rendered{}, fmt.Errorf("read what helm printed: %w", err)
	}
	return Rendered{answer.Manifest, answer.Info.Notes}, nil
}

// Run runs helm and returns what it prints. What it says of an error is in the error.
func (h Helm) Run(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, helmLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.Path, args...)
	// Helm would find a cluster, plugins and repositories of the user's.
	cmd.Env = append(os.Environ(), "HOME="+h.Home, "XDG_CACHE_HOME="+h.Home, "XDG_CONFIG_HOME="+h.Home, "XDG_DATA_HOME="+h.Home, "KUBECONFIG="+filepath.Join(h.Home, "none"))
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("helm %s: %w: %s", args[0], err, strings.TrimSpace(complaint.String()+out.String()))
	}
	return out.Bytes(), nil
}

// Objects are the objects of a manifest, in its order.
func Objects(manifest string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for d := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifest), 4096); ; {
		object := &unstructured.Unstructured{}
		err := d.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read a manifest: %w", err)
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}
