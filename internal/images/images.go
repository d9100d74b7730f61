package images

import (
	"fmt"
	"regexp"
	"time"
)

// User is the user and the group that the programs run as. It has no name in the image and needs none.
const User = 65532

// Program is one program of an image.
type Program struct {
	Name   string // also its path in the image: /NAME
	Module string // folder of its module, relative to the sources
	Folder string // of its package, relative to the module
	Tags   string // of the build, comma-separated
}

// Image is one of Nave's images.
type Image struct {
	Name        string
	Title       string
	Description string
	Programs    []Program // the first is what the image runs
}

// The small programs leave out gRPC's traces, as tools/build.sh says.
const small = "grpcnotrace"

// All are Nave's images.
var All = []Image{
	{"nave-hub", "Nave hub", "The hub of a Nave federation, with the overlay network of its embedded default.", []Program{
		{Name: "nave-hub", Module: ".", Folder: "./cmd/nave-hub"},
		{Name: "nave-overlay", Module: "transport/ziti/overlay", Folder: "."},
	}},
	{"nave-spoke", "Nave spoke", "Runs the sessions of one cluster for a Nave hub.", []Program{
		{Name: "nave-spoke", Module: ".", Folder: "./cmd/nave-spoke", Tags: small},
	}},
	{"nave-harness", "Nave harness", "Process 1 of a session's pod: spoken to by the spoke, runs the agent.", []Program{
		{Name: "nave-harness", Module: ".", Folder: "./cmd/nave-harness", Tags: small},
	}},
}

// Named returns one of [All].
func Named(name string) (Image, error) {
	for _, i := range All {
		if i.Name == name {
			return i, nil
		}
	}
	return Image{}, fmt.Errorf("there is no image %q", name)
}

// Stamp is what all images of a run have in common.
type Stamp struct {
	// Registry is where the images are to be found, without the image's name: the host and a path. Required.
	Registry string
	// Version is what the programs say of themselves, and the images' tag. Required.
	Version string
	// Revision is the commit of the sources. Empty: not said.
	Revision string
	// Created is when the sources were made, to the second. Default: the beginning of 1970.
	Created time.Time
	// Authorities is a file with the certificates of public authorities, as PEM. Required; see [FindAuthorities].
	Authorities string
}

var notInTags = regexp.MustCompile(`[^A-Za-z0-9_.-]`)

// Tag is the version as a tag can say it.
func (s Stamp) Tag() string { return notInTags.ReplaceAllString(s.Version, "-") }

// Reference is the name of an image with registry and tag.
func (s Stamp) Reference(name string) string { return s.Registry + "/" + name + ":" + s.Tag() }

func (s Stamp) created() time.Time {
	if s.Created.IsZero() {
		return time.Unix(0, 0).UTC()
	}
	return s.Created.UTC().Truncate(time.Second)
}
