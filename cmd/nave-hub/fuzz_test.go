package main

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/nave-dev/nave/api"
)

// FuzzConfig: a configuration file is refused by an error that names the file, and the field where there is one, or is a
// configuration that says the same when it is read again and whose values pass their checks.
func FuzzConfig(f *testing.F) {
	f.Add("")
	f.Add("data_dir: /var/lib/nave\nlease: 10s\nlog: {level: debug, format: json}\napi:\n  listen: 127.0.0.1:7400\n  hosts: [a, b]\nlimits:\n  requests: 100\n")
	f.Add("archive:\n  postgresql:\n    dsn: postgres://u@h/d\n    password_file: /x\netcd: {endpoints: [\"https://e:2379\"]}\n")
	for _, s := range []string{"lease: 5", "lease: \"10\"", "leese: 10s", "lease: 10s\nlease: 11s", "a: &a [*a]", "lease: *x", "? {}\n: 1", "- a", "---\n---\n", "\xff", "%YAML 9", "lease: !!binary x", "api: x", "limits: {requests: 99999999999999999999}",
		"lease: 9223372036854775807ns", "data_dir: yes", "data_dir: 'a'\n...\nb", "\"\": x", "api.listen: x", "log:\n  <<: {level: x}", "- |9\n x", "api: {hosts: {a: b}}", "api: {hosts: [[a]]}", strings.Repeat("a: {", 200)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := defaults()
		err := decodeConfig("file.yaml", []byte(text), &c)
		if err != nil {
			var e *api.Error
			if !errors.As(err, &e) || e.Code != api.CodeInvalid || !strings.Contains(err.Error(), "file.yaml") {
				t.Errorf("refused as %v", err)
			}
			if len(err.Error()) > 4000+2*len(text) {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		again := defaults()
		if err := decodeConfig("file.yaml", []byte(text), &again); err != nil || !reflect.DeepEqual(c, again) {
			t.Errorf("read again it is another configuration: %v", err)
		}
		if err := again.complete(); err != nil || !reflect.DeepEqual(c, again) {
			t.Errorf("a configuration that was taken is checked again: %v", err)
		}
	})
}
