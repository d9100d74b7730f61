package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
)

// paths lists every field of a configuration that holds a value.
func paths(v reflect.Value, prefix string) map[string]reflect.Value {
	out := map[string]reflect.Value{}
	for name, f := range fieldsOf(v) {
		at := joinPath(prefix, name)
		if f.Kind() == reflect.Struct {
			for k, inner := range paths(f, at) {
				out[k] = inner
			}
			continue
		}
		out[at] = f
	}
	return out
}

// typesOf are the words of the documentation for a field's type.
func typesOf(v reflect.Value) []string {
	switch v.Interface().(type) {
	case time.Duration:
		return []string{"duration"}
	case int:
		return []string{"number"}
	case []string:
		return []string{"list of names", "list of URLs"}
	}
	return []string{"path", "address", "text", "name", "URL", "IP address"}
}

var tableRow = regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\|\\s*([^|]*?)\\s*\\|\\s*([^|]*?)\\s*\\|\\s*([^|]*?)\\s*\\| `([^|]*)` \\| ([^|]+) \\|$")

// TestTheDocumentationHasEveryField holds docs/configuration.md to the configuration: every field with its type, its unit,
// its default and an example that can be read.
func TestTheDocumentationHasEveryField(t *testing.T) {
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	def := defaults()
	fields := paths(reflect.ValueOf(&def).Elem(), "")
	documented := map[string]bool{}
	for _, row := range tableRow.FindAllStringSubmatch(string(text), -1) {
		name, kind, unit, value, example := row[1], row[2], row[3], row[4], row[5]
		if documented[name] {
			t.Errorf("%s is documented twice", name)
		}
		documented[name] = true
		f, ok := fields[name]
		if !ok {
			t.Errorf("%s is documented and does not exist", name)
			continue
		}
		if !strings.Contains("\n"+strings.Join(typesOf(f), "\n")+"\n", "\n"+kind+"\n") {
			t.Errorf("%s has type %q, want one of %q", name, kind, typesOf(f))
		}
		if (kind == "number") != (unit != "") {
			t.Errorf("%s has unit %q: numbers alone have one", name, unit)
		}
		if f.IsZero() == strings.HasPrefix(value, "`") && !strings.Contains(value, " ") {
			t.Errorf("%s has default %s, and %v in the program", name, value, f)
		}
		if !f.IsZero() && value != fmt.Sprintf("`%v`", f) {
			t.Errorf("%s has default %s, and %v in the program", name, value, f)
		}
		c := defaults()
		if err := fillExample(&c, name, example); err != nil {
			t.Errorf("the example of %s: %v", name, err)
		}
		if cmp.Equal(paths(reflect.ValueOf(&c).Elem(), "")[name].Interface(), f.Interface()) {
			t.Errorf("the example of %s is its default", name)
		}
	}
	for name := range fields {
		if !documented[name] {
			t.Errorf("%s is not documented", name)
		}
	}
	if len(documented) < 35 {
		t.Errorf("%d fields were seen, at least 35 are known to exist", len(documented))
	}
}

// fillExample reads one field from a file that has nothing else but a data directory.
func fillExample(c *config, name, example string) error {
	var text strings.Builder
	parts := strings.Split(name, ".")
	for i, p := range parts {
		text.WriteString(strings.Repeat("  ", i) + p + ":")
		if i < len(parts)-1 {
			text.WriteString("\n")
		}
	}
	text.WriteString(" " + example + "\n")
	err := decodeConfig("example", []byte(text.String()), c)
	// A field of its own is not a whole configuration: only what is wrong with its own form counts.
	if api.FieldOf(err) == name && !strings.Contains(err.Error(), "is missing") && !strings.Contains(err.Error(), "goes with") && !strings.Contains(err.Error(), "leave it out where") {
		return err
	}
	return nil
}

// TestExamplesOfTheDocumentationAreGood reads the YAML of the documentation.
func TestExamplesOfTheDocumentationAreGood(t *testing.T) {
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 3 {
		t.Fatalf("%d examples were found", len(blocks))
	}
	for i, b := range blocks {
		yaml := b[1]
		if !strings.Contains(yaml, "data_dir") {
			yaml += "data_dir: /x\n"
		}
		c := defaults()
		if err := decodeConfig(fmt.Sprint("example ", i+1), []byte(yaml), &c); err != nil {
			t.Errorf("example %d: %v", i+1, err)
		}
	}
}

func TestAConfigurationIsReadOverTheDefaults(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hub.yaml")
	if err := os.WriteFile(path, []byte("data_dir: /x\nlease: 20s\nlog:\n  level: # as it is\napi: {hosts: [a, b]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.DataDir, want.Lease, want.Beat, want.Bucket.Directory, want.API.Hosts = "/x", 20*time.Second, 4*time.Second, "/x/bucket", []string{"a", "b"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	for name, tt := range map[string]struct{ yaml, want string }{
		"unknown":                  {"data_dir: x\nleese: 3s\n", "f, line 2: leese: is not a field; did you mean lease?"},
		"unknown below":            {"data_dir: x\napi:\n  lisen: x\n", "f, line 3: api.lisen: is not a field; did you mean listen?"},
		"unknown and like nothing": {"bucket:\n  s3: x\n", "f, line 2: bucket.s3: is not a field; there are directory"},
		"a password":               {"etcd:\n  password: hush\n", "f, line 2: etcd.password: is not a field; did you mean password_env?"},
		"twice":                    {"data_dir: x\ndata_dir: y\n", "f, line 2: data_dir: is there already, in line 1: remove one"},
		"missing":                  {"lease: 3s\n", "f: data_dir: is missing: name the directory that belongs to this hub alone"},
		"empty":                    {"", "f: data_dir: is missing: name the directory that belongs to this hub alone"},
		"not a number":             {"archive:\n  readers: many\n", `f, line 2: archive.readers: "many" is not a whole number`},
		"no unit":                  {"lease: 10\n", `f, line 1: lease: "10" is not a duration: want a number with a unit, such as 10s or 2m`},
		"not text":                 {"data_dir: 1\n", `f, line 1: data_dir: YAML takes "1" for something else than text: put it in quotes`},
		"not a list":               {"etcd:\n  endpoints: https://a:1\n", "f, line 2: etcd.endpoints: is not a list: write one, [a, b]"},
		"not fields":               {"etcd: x\n", "f, line 1: etcd: holds fields: write them below it, indented"},
		"two documents":            {"data_dir: x\n---\ndata_dir: y\n", "f holds more than one document: leave one"},
		"lease":                    {"data_dir: x\nlease: 2s\n", "f, line 2: lease: 2s: want 3s to 1h0m0s"},
		"beat":                     {"data_dir: x\nlease: 4s\nbeat: 3s\n", "f, line 3: beat: 3s: want 100ms to two fifths of the lease, which is 1.6s"},
		"retention":                {"data_dir: x\nretention: 23h\n", "f, line 2: retention: 23h0m0s: want 24h0m0s or more"},
		"address":                  {"data_dir: x\napi:\n  listen: here\n", `f, line 3: api.listen: "here" is not an address: use host:port`},
		"half a certificate":       {"data_dir: x\napi:\n  tls:\n    cert_file: y\n", "f, line 3: api.tls: names one of cert_file and key_file: name both, or none for a certificate of the hub's own authority"},
		"etcd without endpoints":   {"data_dir: x\netcd:\n  username: y\n", "f, line 2: etcd.endpoints: is missing, and the other fields of etcd are for one that is not embedded: name its endpoints, or leave them out"},
		"etcd without TLS":         {"data_dir: x\netcd:\n  endpoints: [http://a:1]\n  tls: {ca_file: y}\n", `f, line 3: etcd.endpoints: "http://a:1" is without TLS, and etcd.tls is given: use https://`},
		"user without password":    {"data_dir: x\netcd:\n  endpoints: [http://a:1]\n  username: y\n", "f, line 4: etcd.username: goes with password_file or password_env: give both, or none"},
		"two passwords":            {"data_dir: x\netcd:\n  endpoints: [http://a:1]\n  username: y\n  password_file: a\n  password_env: b\n", "f, line 5: etcd.password_file: and password_env are both given: leave one of them out"},
		"a password in the DSN":    {"data_dir: x\narchive: {postgresql: {dsn: 'postgres://a:hush@b/c'}}\n", "f, line 2: archive.postgresql.dsn: holds a password: put it into a file or the environment, and name that by password_file or password_env"},
		"a password as parameter":  {"data_dir: x\narchive: {postgresql: {dsn: 'postgres://a@b/c?password=hush'}}\n", "f, line 2: archive.postgresql.dsn: holds a password: put it into a file or the environment, and name that by password_file or password_env"},
		"a password as word":       {"data_dir: x\narchive: {postgresql: {dsn: 'host=a password = hush'}}\n", "f, line 2: archive.postgresql.dsn: holds a password: put it into a file or the environment, and name that by password_file or password_env"},
		"controller without login": {"data_dir: x\noverlay: {controller: 'https://a:1'}\n", "f, line 2: overlay.controller: needs ca_file, username, and password_file or password_env"},
		"overlay of both kinds":    {"data_dir: x\noverlay: {controller: 'https://a:1', program: y}\n", "f, line 2: overlay.program: is for the embedded overlay: leave it out where overlay.controller is named"},
		"limit":                    {"data_dir: x\nlimits:\n  burst: 0\n", "f, line 3: limits.burst: 0: want 1 to 1000000000"},
		"level":                    {"data_dir: x\nlog: {level: loud}\n", `f, line 2: log.level: "loud": want debug, info, warn or error`},
		"format":                   {"data_dir: x\nlog: {format: xml}\n", `f, line 2: log.format: "xml": want text or json`},
		"alias":                    {"data_dir: &a x\nbucket: {directory: *a}\n", "f, line 2: bucket.directory: is an alias: write the value out"},
	} {
		c := defaults()
		err := decodeConfig("f", []byte(tt.yaml), &c)
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v\nwant %s", name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: the error tells the password", name)
		}
	}
}

func TestSecretsComeFromFilesAndTheEnvironment(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"good": "hu'sh \n", "empty": "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("NAVE_TEST_SECRET", "env")
	for _, tt := range []struct {
		secret      secret
		want, field string
	}{
		{secret{}, "", ""},
		{secret{File: filepath.Join(dir, "good")}, "hu'sh ", ""},
		{secret{Env: "NAVE_TEST_SECRET"}, "env", ""},
		{secret{File: filepath.Join(dir, "empty")}, "", "etcd.password_file"},
		{secret{File: filepath.Join(dir, "none")}, "", "etcd.password_file"},
		{secret{Env: "NAVE_TEST_NONE"}, "", "etcd.password_env"},
	} {
		got, err := tt.secret.read("etcd")
		if got != tt.want || api.FieldOf(err) != tt.field {
			t.Errorf("%v: %q, %v", tt.secret, got, err)
		}
	}
	for dsn, want := range map[string]string{
		"postgres://nave@db/nave?sslmode=disable": "postgres://nave:hu%27sh%20@db/nave?sslmode=disable",
		"host=db user=nave":                       `host=db user=nave password='hu\'sh '`,
	} {
		p := postgresConfig{DSN: dsn}
		if got, err := p.connection("hu'sh "); err != nil || got != want {
			t.Errorf("%s becomes %s, %v", dsn, got, err)
		}
		if got, err := p.connection(""); err != nil || got != dsn {
			t.Errorf("%s without a password becomes %s, %v", dsn, got, err)
		}
	}
}
