package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzConfig: what the parent wrote for a process is refused with its file, or is a configuration that listens on one address
// and says the same when it is written again. So is the administrator.
func FuzzConfig(f *testing.F) {
	good, err := json.Marshal(Config{Name: "r1", Home: "/h", Lease: "/l", GraceMS: 1000, Address: "127.0.0.1", Port: 1, LinkPort: 2, ControllerPort: 3, ControllerHome: "/c", LogBytes: 10})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	for _, s := range []string{"", "null", "{}", `{"name":"a","home":"/h","lease":"/l","graceMs":9223372036854775807,"address":"127.0.0.1","port":65536,"logBytes":1}`, `{"graceMs":1e300}`, `{"address":"0.0.0.0"}`, "\xff", `{"user":"nave","password":"p"}`} {
		f.Add([]byte(s))
	}
	path := filepath.Join(f.TempDir(), "config.json")
	f.Fuzz(func(t *testing.T, b []byte) {
		write := func(b []byte) {
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write(b)
		if a, err := readAdmin(path); err == nil && (a.User == "" || a.Password == "") {
			t.Errorf("an administrator without name or password: %q", b)
		}
		c, err := loadConfig(path)
		if err != nil {
			if !strings.Contains(err.Error(), path) {
				t.Errorf("an error that names no file: %v", err)
			}
			return
		}
		if c.grace() <= 0 || c.Port < 1 || c.Port > 65535 || c.LinkPort < 0 || c.LinkPort > 65535 || c.ControllerPort < 0 || c.ControllerPort > 65535 || c.LogLevel == "" {
			t.Errorf("taken: %+v", c)
		}
		again, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		write(again)
		if back, err := loadConfig(path); err != nil || back != c {
			t.Errorf("%+v became %+v, %v", c, back, err)
		}
	})
}
