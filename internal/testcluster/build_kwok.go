package testcluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// kwokStages are the parts of a fake node's and a fake pod's life that kwok has ready.
var kwokStages = []string{
	"node/fast/node-initialize.yaml", "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
	"pod/fast/pod-ready.yaml", "pod/fast/pod-delete.yaml",
}

// buildKwok builds kwok and keeps its stages beside it.
func buildKwok(ctx context.Context, b builder) error {
	const module, kwok = programsDir + "/kwok", "sigs.k8s.io/kwok"
	if err := b.goBuild(ctx, module, nil, "-ldflags", "-s -w", "-o", b.out+"/", kwok+"/cmd/kwok"); err != nil {
		return err
	}
	list := exec.CommandContext(ctx, "go", "-C", filepath.Join(b.root, module), "list", "-m", "-f", "{{.Dir}}", kwok)
	dir, err := list.Output()
	if err != nil {
		return fmt.Errorf("find the sources of %s: %w", kwok, err)
	}
	var all bytes.Buffer
	for _, name := range kwokStages {
		text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "kustomize/stage", name))
		if err != nil {
			return err
		}
		fmt.Fprintf(&all, "---\n%s", text)
	}
	return os.WriteFile(filepath.Join(b.out, "kwok-stages.yaml"), all.Bytes(), 0o644)
}
