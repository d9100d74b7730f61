// Command images makes container images of Nave's programs, see package images.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/nave-dev/nave/internal/images"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	c := images.Config{Show: os.Stdout}
	f := flag.NewFlagSet("images", flag.ContinueOnError)
	f.StringVar(&c.Sources, "sources", ".", "folder of Nave's sources")
	f.StringVar(&c.Out, "out", "bin/images", "folder that gets the images")
	f.StringVar(&c.Stamp.Registry, "registry", "ghcr.io/nave-dev", "where the images are to be found, without their name")
	f.StringVar(&c.Stamp.Version, "version", "source", "what the programs say of themselves, and the images' tag")
	f.StringVar(&c.Stamp.Revision, "revision", "", "commit of the sources")
	f.StringVar(&c.Stamp.Authorities, "authorities", "", "file with certificates of public authorities (default: that of this machine)")
	arch := f.String("arch", strings.Join(images.Architectures, " "), "architectures")
	names := f.String("images", "", "names of images (default: all)")
	created := f.Int64("created", 0, "when the sources were made, in seconds since the beginning of 1970")
	if err := f.Parse(args); err != nil {
		return err
	}
	c.Architectures, c.Stamp.Created, c.Images = strings.Fields(*arch), time.Unix(*created, 0), images.All
	if *names != "" {
		c.Images = nil
		for _, name := range strings.Fields(*names) {
			i, err := images.Named(name)
			if err != nil {
				return err
			}
			c.Images = append(c.Images, i)
		}
	}
	if c.Stamp.Authorities == "" {
		file, err := images.FindAuthorities()
		if err != nil {
			return err
		}
		c.Stamp.Authorities = file
	}
	return images.Make(ctx, c)
}
