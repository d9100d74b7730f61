package images

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// problems are what SPDX 2.3 says against a document, clause by clause; it is read without the types that wrote it.
func problems(text []byte) []string {
	var out []string
	bad := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	var d map[string]any
	if err := json.Unmarshal(text, &d); err != nil {
		return []string{err.Error()}
	}
	str := func(of map[string]any, key string) string { s, _ := of[key].(string); return s }
	list := func(of map[string]any, key string) []map[string]any {
		var out []map[string]any
		all, _ := of[key].([]any)
		for _, x := range all {
			m, _ := x.(map[string]any)
			out = append(out, m)
		}
		return out
	}
	for key, want := range map[string]string{"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT"} { // 6.1 to 6.3
		if str(d, key) != want {
			bad("%s is %q, want %q", key, str(d, key), want)
		}
	}
	if str(d, "name") == "" { // 6.4
		bad("the document has no name")
	}
	if u, err := url.Parse(str(d, "documentNamespace")); err != nil || !u.IsAbs() || u.Fragment != "" { // 6.5
		bad("documentNamespace %q is no absolute URI without #", str(d, "documentNamespace"))
	}
	creation, _ := d["creationInfo"].(map[string]any)
	creators, _ := creation["creators"].([]any) // 6.8
	if len(creators) == 0 {
		bad("there is no creator")
	}
	for _, c := range creators {
		if s, _ := c.(string); !regexp.MustCompile(`^(Person|Organization|Tool): \S`).MatchString(s) {
			bad("creator %q", s)
		}
	}
	if _, err := time.Parse("2006-01-02T15:04:05Z", str(creation, "created")); err != nil { // 6.9
		bad("created: %v", err)
	}
	ids := map[string]bool{"SPDXRef-DOCUMENT": true}
	for _, p := range list(d, "packages") {
		id := str(p, "SPDXID")
		if !regexp.MustCompile(`^SPDXRef-[A-Za-z0-9.-]+$`).MatchString(id) || ids[id] { // 7.2
			bad("SPDXID %q of a package is malformed or used twice", id)
		}
		ids[id] = true
		if str(p, "name") == "" || str(p, "downloadLocation") == "" { // 7.1, 7.7
			bad("%s has no name or no downloadLocation", id)
		}
		if analyzed, ok := p["filesAnalyzed"].(bool); !ok || analyzed { // 7.8: true would ask for a verification code
			bad("%s: filesAnalyzed is %v", id, p["filesAnalyzed"])
		}
		for _, c := range list(p, "checksums") { // 7.10
			if str(c, "algorithm") != "SHA256" || !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(str(c, "checksumValue")) {
				bad("%s: checksum %v", id, c)
			}
		}
		for _, r := range list(p, "externalRefs") { // 7.21
			if str(r, "referenceCategory") != "PACKAGE-MANAGER" || str(r, "referenceType") != "purl" || !strings.HasPrefix(str(r, "referenceLocator"), "pkg:golang/") {
				bad("%s: externalRef %v", id, r)
			}
		}
		if purpose := str(p, "primaryPackagePurpose"); !slices.Contains([]string{"APPLICATION", "CONTAINER", "LIBRARY", "DATA", "OTHER"}, purpose) { // 7.24
			bad("%s: primaryPackagePurpose %q", id, purpose)
		}
	}
	described := 0
	for _, r := range list(d, "relationships") { // 11.1
		if !ids[str(r, "spdxElementId")] || !ids[str(r, "relatedSpdxElement")] {
			bad("a relationship of what is not in the document: %v", r)
		}
		switch str(r, "relationshipType") {
		case "DESCRIBES":
			described++
		case "CONTAINS", "DEPENDS_ON":
		default:
			bad("relationship %v", r)
		}
	}
	if described != 1 {
		bad("the document describes %d things, want the image", described)
	}
	return out
}

func TestTheBillIsSPDX(t *testing.T) {
	dir := made(t, stamp(authority(t)))
	text, err := os.ReadFile(filepath.Join(dir, "tiny-amd64.spdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems(text) {
		t.Error(p)
	}
	// The judge sees what is wrong.
	for _, broken := range []struct{ from, to string }{
		{"SPDX-2.3", "SPDX-2.2"}, {`"SPDXRef-Image"`, `"SPDXRef-Other"`}, {`"filesAnalyzed": false`, `"filesAnalyzed": true`}, {"2023-11-14T22:13:20Z", "yesterday"},
		{"Tool: ", "Robot: "}, {`"downloadLocation": "NOASSERTION"`, `"downloadLocation": ""`}, {"pkg:golang/", "pkg:"}, {`"documentNamespace": "https:`, `"documentNamespace": "`},
	} {
		if wrong := strings.Replace(string(text), broken.from, broken.to, 1); wrong == string(text) || len(problems([]byte(wrong))) == 0 {
			t.Errorf("%q for %q passes", broken.to, broken.from)
		}
	}
	// The modules are those that the linker put in, with the sums of go.sum.
	sums, err := os.ReadFile(filepath.Join("..", "..", "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	var sum string
	for line := range strings.Lines(string(sums)) {
		if s, ok := strings.CutPrefix(line, "github.com/google/go-cmp v0.7.0 "); ok {
			sum = strings.TrimSpace(s)
		}
	}
	var d document
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(d.Packages, func(p pkg) bool { return p.Name == "github.com/google/go-cmp" })
	if at < 0 || sum == "" || d.Packages[at].Version != "v0.7.0" || d.Packages[at].Source != "go.sum "+sum || d.Packages[at].Refs[0].Locator != "pkg:golang/github.com/google/go-cmp@v0.7.0" {
		t.Errorf("go-cmp with the sum %q is not among %+v", sum, d.Packages)
	}
	if len(d.Packages) != 5 { // image, authorities, program, standard library, go-cmp
		t.Errorf("%d packages", len(d.Packages))
	}
}

// Each bill is in the layout as an artifact whose subject is its image.
func TestTheBillRefersToItsImage(t *testing.T) {
	dir := made(t, stamp(authority(t)))
	images, referrers := read(t, filepath.Join(dir, "tiny"))
	path, err := layout.FromPath(filepath.Join(dir, "tiny"))
	if err != nil {
		t.Fatal(err)
	}
	if len(referrers) != len(images) {
		t.Fatalf("%d artifacts for %d images", len(referrers), len(images))
	}
	found := map[string]bool{}
	for _, d := range referrers {
		image, err := path.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		m, err := image.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		if d.ArtifactType != BillType || m.ArtifactType != BillType || m.Subject == nil {
			t.Fatalf("artifact %+v: %+v", d, m)
		}
		for arch, image := range images {
			if digest, err := image.Digest(); err != nil || digest != m.Subject.Digest {
				continue
			}
			blob, err := path.Blob(m.Layers[0].Digest)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(blob)
			blob.Close()
			if err != nil {
				t.Fatal(err)
			}
			beside, err := os.ReadFile(filepath.Join(dir, "tiny-"+arch+".spdx.json"))
			found[arch] = err == nil && string(text) == string(beside)
		}
	}
	for _, arch := range Architectures {
		if !found[arch] {
			t.Errorf("no artifact refers to the image for %s with its bill", arch)
		}
	}
}
