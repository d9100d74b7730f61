package local

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// FuzzSettings: the settings that the first start chose are refused with their file, or are addresses and ports that
// processes can be given, which are written the same again.
func FuzzSettings(f *testing.F) {
	good, err := json.Marshal(settings{Address: netip.MustParseAddr("127.0.0.1"), Controller: 20000, Routers: []routerSetting{{"r1", 20001, 20002}, {"r2", 20003, 20004}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	for _, s := range []string{"", "null", "{}", `{"routers":[{},{}]}`, `{"address":"127.0.0.1","controllerPort":65536,"routers":[{"name":"r1","edgePort":1,"linkPort":2},{"name":"r2","edgePort":3,"linkPort":4}]}`,
		`{"address":"127.0.0.1","controllerPort":5,"routers":[{"name":"../r1","edgePort":1,"linkPort":2},{"name":"r2","edgePort":3,"linkPort":4}]}`, `{"address":"::1%eth0"}`, "\xff"} {
		f.Add([]byte(s))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(dir, settingsFile)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := readSettings(dir)
		if err != nil {
			if !strings.Contains(err.Error(), path) {
				t.Errorf("an error that names no file: %v", err)
			}
			return
		}
		ports := []int{s.Controller}
		for _, r := range s.Routers {
			ports = append(ports, r.Edge, r.Link)
			if r.Name == "" || r.Name == "." || r.Name == ".." || filepath.Base(r.Name) != r.Name {
				t.Errorf("router %q has its directory elsewhere", r.Name)
			}
		}
		for _, p := range ports {
			if p < 1 || p > 65535 {
				t.Errorf("port %d", p)
			}
		}
		if !s.Address.IsValid() || len(s.Routers) != routers {
			t.Errorf("taken: %+v", s)
		}
		again, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, again, 0o600); err != nil {
			t.Fatal(err)
		}
		if back, err := readSettings(dir); err != nil || !reflect.DeepEqual(s, back) {
			t.Errorf("%+v became %+v, %v", s, back, err)
		}
	})
}

// FuzzAdministrator: the controller's file about its administrator is refused, or gives a name and a password.
func FuzzAdministrator(f *testing.F) {
	f.Add([]byte(`{"user":"nave","password":"p"}`))
	for _, s := range []string{"", "null", "{}", `{"user":1}`, `{"User":"a","user":"b","password":"c"}`, "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := decodeAdministrator(b)
		if err != nil {
			if len(b) > 8 && strings.Contains(err.Error(), string(b)) {
				t.Errorf("the password may be in %q", err)
			}
			return
		}
		if a.User == "" || a.Password == "" {
			t.Errorf("taken: %q", b)
		}
	})
}
