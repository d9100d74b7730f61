package images

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Config says which images to make.
type Config struct {
	// Sources is the folder of Nave's sources. Required.
	Sources string
	// Out is the folder that gets the images; what is there under their names is replaced. Required.
	Out string
	// Images are what to make, at least one of [All].
	Images []Image
	// Architectures are for which, at least one of [Architectures].
	Architectures []string
	// Stamp is what they have in common.
	Stamp Stamp
	// Show gets a line for each image. Default: nobody.
	Show io.Writer
}

func (c *Config) validate() error {
	switch {
	case c.Sources == "" || c.Out == "":
		return fmt.Errorf("config of images: Sources or Out is empty")
	case len(c.Images) == 0 || len(c.Architectures) == 0:
		return fmt.Errorf("config of images: there is no image or no architecture")
	case c.Stamp.Registry == "" || c.Stamp.Version == "":
		return fmt.Errorf("config of images: the stamp has no registry or no version")
	}
	for _, arch := range c.Architectures {
		if _, ok := machines[arch]; !ok {
			return fmt.Errorf("architecture %q: want some of %v", arch, Architectures)
		}
	}
	if c.Show == nil {
		c.Show = io.Discard
	}
	return checkAuthorities(c.Stamp.Authorities) // before minutes of building
}

// Make builds the programs and writes the images.
func Make(ctx context.Context, c Config) error {
	if err := c.validate(); err != nil {
		return err
	}
	var err error
	if c.Out, err = filepath.Abs(c.Out); err != nil {
		return err
	}
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return err
	}
	for _, i := range c.Images {
		if err := c.image(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

func (c Config) image(ctx context.Context, i Image) error {
	scratch, err := os.MkdirTemp("", "nave-images-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	var packed []*Packed
	var bills [][]byte
	for _, arch := range c.Architectures {
		began := time.Now()
		files := make(map[string]string)
		for _, p := range i.Programs {
			files[p.Name] = filepath.Join(scratch, arch, p.Name)
			if err := p.Build(ctx, c.Sources, arch, c.Stamp.Version, files[p.Name]); err != nil {
				return err
			}
		}
		p, err := i.Pack(arch, files, c.Stamp, scratch)
		if err != nil {
			return err
		}
		bill, err := BillOf(p, i, files, c.Stamp)
		if err != nil {
			return err
		}
		packed, bills = append(packed, p), append(bills, bill)
		at := filepath.Join(c.Out, i.Name+"-"+arch)
		if err := os.WriteFile(at+".spdx.json", bill, 0o644); err != nil {
			return err
		}
		if err := p.WriteArchive(at+".tar", c.Stamp, scratch); err != nil {
			return err
		}
		digest, err := p.Digest()
		if err != nil {
			return err
		}
		fmt.Fprintf(c.Show, "  %-13s linux/%-6s %9s, %9s compressed  %s  %5.1f s\n", i.Name, arch, mebibytes(p.Unpacked), mebibytes(p.Compressed), digest, time.Since(began).Seconds())
	}
	digest, err := writeLayout(filepath.Join(c.Out, i.Name), packed, bills, c.Stamp)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.Show, "  %s@%s\n", c.Stamp.Reference(i.Name), digest)
	return nil
}
