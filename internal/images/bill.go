package images

import (
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// MediaType of a bill of materials.
const BillType = "application/spdx+json"

// document is an SPDX 2.3 document, as https://spdx.github.io/spdx-spec/v2.3/ says. Optional fields that say nothing here are
// left out.
type document struct {
	Version       string         `json:"spdxVersion"`
	License       string         `json:"dataLicense"`
	ID            string         `json:"SPDXID"`
	Name          string         `json:"name"`
	Namespace     string         `json:"documentNamespace"`
	Creation      creation       `json:"creationInfo"`
	Packages      []pkg          `json:"packages"`
	Relationships []relationship `json:"relationships"`
}

type creation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type pkg struct {
	ID        string     `json:"SPDXID"`
	Name      string     `json:"name"`
	Version   string     `json:"versionInfo,omitempty"`
	File      string     `json:"packageFileName,omitempty"`
	Supplier  string     `json:"supplier"`
	Location  string     `json:"downloadLocation"`
	Analyzed  bool       `json:"filesAnalyzed"`
	Checksums []checksum `json:"checksums,omitempty"`
	Source    string     `json:"sourceInfo,omitempty"`
	Concluded string     `json:"licenseConcluded"`
	Declared  string     `json:"licenseDeclared"`
	Copyright string     `json:"copyrightText"`
	Refs      []ref      `json:"externalRefs,omitempty"`
	Purpose   string     `json:"primaryPackagePurpose,omitempty"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type ref struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type relationship struct {
	From string `json:"spdxElementId"`
	Type string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

const unsaid = "NOASSERTION"

// BillOf says what a packed image consists of: its programs, each with the modules that the linker put in, the standard library
// among them, and the authorities.
func BillOf(p *Packed, i Image, files map[string]string, s Stamp) ([]byte, error) {
	digest, err := p.Digest()
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s-%s-linux-%s", i.Name, s.Tag(), p.Architecture)
	d := document{Version: "SPDX-2.3", License: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: name,
		Namespace: fmt.Sprintf("%s/spdx/%s-%s", source, name, digest.Hex),
		Creation:  creation{s.created().Format(time.RFC3339), []string{"Organization: Nave", "Tool: nave-images-" + s.Tag()}}}
	image := described(pkg{ID: "SPDXRef-Image", Name: i.Name, Version: s.Version, Declared: "Apache-2.0", Purpose: "CONTAINER",
		Checksums: []checksum{{"SHA256", digest.Hex}}, Source: "the checksum is that of the image's manifest"})
	d.add("SPDXRef-DOCUMENT", "DESCRIBES", image)
	sum, err := sumOf(s.Authorities)
	if err != nil {
		return nil, err
	}
	d.add(image.ID, "CONTAINS", described(pkg{ID: "SPDXRef-Authorities", Name: "ca-certificates", File: "/" + Bundle, Checksums: []checksum{{"SHA256", sum}}, Purpose: "DATA"}))
	for _, program := range i.Programs {
		if err := d.program(image.ID, program.Name, files[program.Name], s); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(d.Packages, func(a, b pkg) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(d.Relationships, func(a, b relationship) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Type, b.Type), cmp.Compare(a.To, b.To))
	})
	out, err := json.MarshalIndent(d, "", "  ")
	return append(out, '\n'), err
}

// program adds a program and what it says of itself.
func (d *document) program(image, name, file string, s Stamp) error {
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return fmt.Errorf("what %s consists of: %w", name, err)
	}
	sum, err := sumOf(file)
	if err != nil {
		return err
	}
	p := described(pkg{ID: "SPDXRef-Program-" + name, Name: info.Path, Version: s.Version, File: "/" + name, Declared: "Apache-2.0", Purpose: "APPLICATION",
		Checksums: []checksum{{"SHA256", sum}}, Source: "built with " + info.GoVersion + settings(info)})
	d.add(image, "CONTAINS", p)
	d.add(p.ID, "DEPENDS_ON", described(pkg{ID: "SPDXRef-Module-stdlib", Name: "stdlib", Version: strings.TrimPrefix(info.GoVersion, "go"), Declared: "BSD-3-Clause",
		Refs: []ref{{"PACKAGE-MANAGER", "purl", "pkg:golang/stdlib@" + strings.TrimPrefix(info.GoVersion, "go")}}, Purpose: "LIBRARY"}))
	for _, m := range info.Deps {
		d.add(p.ID, "DEPENDS_ON", moduleOf(m))
	}
	return nil
}

// settings are those of the build that change what is in a program.
func settings(info *debug.BuildInfo) string {
	var out strings.Builder
	for _, s := range info.Settings {
		if s.Key == "-tags" || s.Key == "CGO_ENABLED" || s.Key == "GOOS" || s.Key == "GOARCH" || s.Key == "GOAMD64" || s.Key == "GOARM64" {
			fmt.Fprintf(&out, " %s=%s", s.Key, s.Value)
		}
	}
	return out.String()
}

var notInIDs = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// moduleOf is a module that a program was linked with. The sum is the one of go.sum: it is over the module's files, so it is no
// checksum of a package in the sense of SPDX and stands where SPDX has room for words.
func moduleOf(m *debug.Module) pkg {
	said := ""
	if m.Replace != nil {
		said = fmt.Sprintf("; in place of %s %s", m.Path, m.Version)
		m = m.Replace
	}
	id := sha256.Sum256([]byte(m.Path + "@" + m.Version)) // paths that differ in a slash must not meet
	p := described(pkg{ID: "SPDXRef-Module-" + notInIDs.ReplaceAllString(m.Path+"-"+m.Version, "-") + "-" + hex.EncodeToString(id[:4]), Name: m.Path, Version: m.Version,
		Location: unsaid, Refs: []ref{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + m.Path + "@" + m.Version}}, Purpose: "LIBRARY"})
	if m.Sum != "" {
		p.Source = "go.sum " + m.Sum
	} else {
		p.Source = "part of these sources"
	}
	p.Source += said
	return p
}

// described fills in what is not said of a package.
func described(p pkg) pkg {
	p.Supplier, p.Location, p.Concluded, p.Copyright = unsaid, unsaid, unsaid, unsaid
	if p.Declared == "" {
		p.Declared = unsaid
	}
	return p
}

// add puts a package into the document, once, and says how another has to do with it.
func (d *document) add(from, how string, p pkg) {
	if !slices.ContainsFunc(d.Packages, func(q pkg) bool { return q.ID == p.ID }) {
		d.Packages = append(d.Packages, p)
	}
	d.Relationships = append(d.Relationships, relationship{from, how, p.ID})
}

func sumOf(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
