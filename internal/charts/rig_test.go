package charts_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/nave-dev/nave/internal/charts"
	"github.com/nave-dev/nave/internal/realpart"
)

const root = "../.."

func helm(t testing.TB) charts.Helm {
	t.Helper()
	return charts.Helm{Path: realpart.Path(t, realpart.Helm), Home: t.TempDir()}
}

// render renders a case, with further arguments.
func render(t testing.TB, c charts.Case, args ...string) charts.Rendered {
	t.Helper()
	r, err := helm(t).Render(t.Context(), c.Folder(root), c.Release, c.Namespace, append([]string{"--values", c.Values(root)}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// refused renders a chart with arguments that it must refuse, and returns what it says.
func refused(t testing.TB, chart string, args ...string) string {
	t.Helper()
	_, err := helm(t).Render(t.Context(), filepath.Join(root, "charts", chart), "release", "place", args...)
	if err == nil {
		t.Fatalf("%s takes %s", chart, strings.Join(args, " "))
	}
	return err.Error()
}

func objects(t testing.TB, r charts.Rendered) []*unstructured.Unstructured {
	t.Helper()
	all, err := charts.Objects(r.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 5 {
		t.Fatalf("%d objects, at least 5 belong to every chart", len(all))
	}
	return all
}

// name is kind, namespace and name of an object.
func name(o *unstructured.Unstructured) string {
	return o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
}

// object is the one object of a kind and a name.
func object(t testing.TB, all []*unstructured.Unstructured, kind, named string) *unstructured.Unstructured {
	t.Helper()
	var found []*unstructured.Unstructured
	for _, o := range all {
		if o.GetKind() == kind && o.GetName() == named {
			found = append(found, o)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d objects are %s %s, want one", len(found), kind, named)
	}
	return found[0]
}

func read(t testing.TB, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// pair is a certificate that is its own authority, and its key, as PEM.
func pair(t testing.TB) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	b, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: b})
}
