package images

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Version is where programs keep what they say of themselves.
const versionFlags = "-s -w -X github.com/nave-dev/nave/internal/version.Version=%[1]s -X main.version=%[1]s"

// Build builds the program from the sources in a folder, for an architecture, into a file.
func (p Program) Build(ctx context.Context, sources, arch, version, file string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-tags", p.Tags, "-ldflags", fmt.Sprintf(versionFlags, version), "-o", file, p.Folder)
	cmd.Dir = filepath.Join(sources, p.Module)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "PWD="+cmd.Dir)
	var says bytes.Buffer
	cmd.Stdout, cmd.Stderr = &says, &says
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build %s for %s: %w\n%s", p.Name, arch, err, bytes.TrimSpace(says.Bytes()))
	}
	return nil
}

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// Architectures are those for which there can be images.
var Architectures = []string{"amd64", "arm64"}

// checkProgram refuses a program that an image of nothing else cannot run.
func checkProgram(file, arch string) error {
	want, ok := machines[arch]
	if !ok {
		return fmt.Errorf("architecture %q: want one of %s", arch, strings.Join(Architectures, ", "))
	}
	f, err := elf.Open(file)
	if err != nil {
		return fmt.Errorf("%s is no Linux program: %w", file, err)
	}
	defer f.Close()
	if f.Machine != want {
		return fmt.Errorf("%s is for %s, not for %s", file, f.Machine, arch)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is not static: build it with CGO_ENABLED=0", file)
		}
	}
	return nil
}

// bundles are where systems keep the certificates of public authorities.
var bundles = []string{
	"/etc/ssl/certs/ca-certificates.crt",                // Debian, Alpine, Arch
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora
	"/etc/ssl/ca-bundle.pem",                            // SUSE
}

// FindAuthorities returns the file with the certificates of public authorities that this machine has.
func FindAuthorities() (string, error) { return findAuthorities(bundles) }

func findAuthorities(files []string) (string, error) {
	for _, file := range files {
		switch info, err := os.Stat(file); {
		case err == nil && info.Size() > 0:
			return file, nil
		case err != nil && !errors.Is(err, os.ErrNotExist):
			return "", err
		}
	}
	return "", fmt.Errorf("this machine has no certificates of public authorities (%s): install the package ca-certificates, or name a file with --authorities", strings.Join(files, ", "))
}
