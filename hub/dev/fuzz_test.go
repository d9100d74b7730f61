package dev_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub/dev"
)

// FuzzDirectory: the files of a data directory are refused with what to do, or say what is written the same again. A
// directory of something else is never taken over.
func FuzzDirectory(f *testing.F) {
	f.Add([]byte(`{"kind":"nave-hub-dev","format":1}`), []byte(`{"http":"127.0.0.1:7400","grpc":"127.0.0.1:7401"}`))
	for _, s := range []string{"", "null", "{}", `{"kind":"other","format":1}`, `{"kind":"nave-hub-dev","format":2}`, `{"kind":"nave-hub-dev","format":-1}`, `{"http":1}`, "\xff"} {
		f.Add([]byte(s), []byte(s))
		f.Add([]byte(`{"kind":"nave-hub-dev","format":1}`), []byte(s))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, marker, ports []byte) {
		for name, b := range map[string][]byte{"nave.json": marker, "ports.json": ports} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		d, err := dev.Open(dir)
		if err != nil {
			if c := api.CodeOf(err); c != api.CodeFailed && c != api.CodeUnsupported {
				t.Errorf("refused as %s: %v", c, err)
			}
			return
		}
		defer d.Close()
		if d.Fresh {
			t.Error("a directory with files is taken for a new one")
		}
		p, err := d.Ports()
		if err != nil {
			return
		}
		if err := d.SavePorts(p); err != nil {
			t.Fatal(err)
		}
		if back, err := d.Ports(); err != nil || back != p {
			t.Errorf("%+v became %+v, %v", p, back, err)
		}
	})
}
