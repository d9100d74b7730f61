package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/nave-dev/nave/internal/federation"
)

// cluster is one spoke posing as a cluster of a cloud.
type cluster struct{ name, cloud string }

var clusters = []cluster{{"aws-1", "aws"}, {"gcp-1", "gcp"}, {"azure-1", "azure"}}

// demonstration is the federation and what is to be shown with it.
type demonstration struct {
	options
	*federation.Federation
	parts   *parts  // nil: the hub has its parts in it
	faults  *faults // nil: none of the parts is killed
	deaths  deaths
	permits permits
}

// start brings up the hub and its spokes, as a user would.
func (d *demonstration) start(ctx context.Context) error {
	if err := d.startHub(ctx); err != nil {
		return err
	}
	d.deaths.spokes = map[string]*federation.Process{}
	title("Three spokes, posing as clusters of three clouds")
	for _, c := range clusters {
		if err := d.Join(ctx, c.name, "cloud="+c.cloud); err != nil {
			return err
		}
		spoke, err := d.StartSpoke(c.name)
		if err != nil {
			return err
		}
		d.deaths.spokes[c.name] = spoke
	}
	return d.Await(ctx, "all clusters live", func() (bool, error) {
		out, err := d.Quiet(ctx, "clusters")
		return strings.Count(out, "Live") == len(clusters), err
	})
}

// startHub brings up the hub, with its parts in it or each by itself. From here on there is no difference.
func (d *demonstration) startHub(ctx context.Context) error {
	if d.external {
		return d.startExternal(ctx)
	}
	title("A hub: store, archive, API and a real OpenZiti overlay, in one directory")
	hub, err := d.StartHub(ctx)
	d.deaths.hub = hub
	return err
}

// play says how to use what runs, and waits for the interrupt.
func (d *demonstration) play(ctx context.Context) {
	title("It is yours now")
	fmt.Printf("  export NAVE_CONFIG=%s PATH=%s:$PATH\n  nave sessions; nave clusters; nave signal auditor me -m %s --wait\n  Ctrl-C ends everything.\n",
		d.Path("config.yaml"), filepath.Dir(d.Bin("nave")), d.root)
	<-ctx.Done()
}

func title(s string) { fmt.Printf("\n== %s\n", s) }
