package api

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// EnvironmentSpec is where an agent runs.
type EnvironmentSpec struct {
	Image        string   // OCI image reference; the process runtime runs on the host and refuses it
	Command      []string // entry point that replaces the image's; empty keeps it
	Flavor       string   // named compute size that a cluster offers; empty means "small"
	RuntimeClass string   // e.g. gvisor; empty means the cluster's default
	Volumes      []Volume
	Env          []EnvVar
	Files        []File
	InitScripts  []InitScript // run in order before the agent, each once per attempt
	PullSecrets  []string     // names of secrets that may pull the image
	WarmPool     int          // workloads kept ready without a session
	Egress       []EgressRule // what may be reached; empty denies everything but the hub's own services
	Overrides    []Override   // first match wins
}

// DefaultFlavor is the flavor of an environment that names none.
const DefaultFlavor = "small"

// Volume is a named file system of a session.
type Volume struct {
	Name       string
	Mount      string        // absolute path inside the workload
	SizeBytes  int64         // 1 MiB to 64 TiB
	Class      string        // storage class; empty means the cluster's default
	TimeToLive time.Duration // kept this long after the session ended; 0 removes it at once
	Ephemeral  bool          // lives as long as one workload
}

// EnvVar is one environment variable: a value or a reference to a secret, never both.
type EnvVar struct {
	Name   string
	Value  string
	Secret string // "secret/key"
}

// File is placed below the session's home before the agent starts.
type File struct {
	Path    string // relative to the home directory, without ".."
	Content string
	Mode    uint32 // permission bits; 0 means 0644
}

// InitScript is a shell script.
type InitScript struct {
	Name   string
	Script string
}

// EgressRule allows connections to one host.
type EgressRule struct {
	Host  string // DNS name, or "*." and a DNS name
	Ports []int  // empty means 443
}

// Override replaces parts of the environment in clusters that match.
type Override struct {
	Clusters     []Requirement // all must match the cluster's labels
	Image        string
	Flavor       string
	StorageClass string
	RuntimeClass string
}

// Kind implements [Spec].
func (*EnvironmentSpec) Kind() Kind { return KindEnvironment }

// Refs implements [Spec]. An environment refers to no definition.
func (*EnvironmentSpec) Refs() []Ref { return nil }

// Validate implements [Spec].
func (s *EnvironmentSpec) Validate() error {
	var c checks
	c.do(validateImage("spec.image", s.Image))
	c.do(validateCommand("spec.command", s.Command, false))
	c.do(validateOptionalName("spec.flavor", s.Flavor))
	c.do(validateOptionalName("spec.runtime_class", s.RuntimeClass))
	c.do(validateVolumes(s.Volumes))
	c.do(validateEnv("spec.env", s.Env))
	c.do(validateFiles(s.Files))
	c.list("spec.init_scripts", len(s.InitScripts))
	unique(&c, "spec.init_scripts", s.InitScripts, func(i InitScript) string { return i.Name })
	for i, is := range s.InitScripts {
		c.do(ValidateName(fmt.Sprintf("spec.init_scripts[%d].name", i), is.Name))
		c.that(is.Script != "", fmt.Sprintf("spec.init_scripts[%d].script", i), "is empty: give the script's text")
		c.text(fmt.Sprintf("spec.init_scripts[%d].script", i), is.Script)
	}
	c.list("spec.pull_secrets", len(s.PullSecrets))
	unique(&c, "spec.pull_secrets", s.PullSecrets, func(n string) string { return n })
	for i, n := range s.PullSecrets {
		c.do(ValidateName(fmt.Sprintf("spec.pull_secrets[%d]", i), n))
	}
	c.that(s.WarmPool >= 0 && s.WarmPool <= 1000, "spec.warm_pool", "%d: want 0 to 1000", s.WarmPool)
	c.list("spec.egress", len(s.Egress))
	for i, r := range s.Egress {
		c.do(validateEgress(fmt.Sprintf("spec.egress[%d]", i), r))
	}
	c.list("spec.overrides", len(s.Overrides))
	for i, o := range s.Overrides {
		c.do(validateOverride(fmt.Sprintf("spec.overrides[%d]", i), o))
	}
	return c.err
}

func validateVolumes(vs []Volume) error {
	var c checks
	c.list("spec.volumes", len(vs))
	unique(&c, "spec.volumes", vs, func(v Volume) string { return v.Name })
	for i, v := range vs {
		f := fmt.Sprintf("spec.volumes[%d]", i)
		c.do(ValidateName(f+".name", v.Name))
		c.that(path.IsAbs(v.Mount) && path.Clean(v.Mount) == v.Mount && v.Mount != "/" && len(v.Mount) <= 256 && utf8.ValidString(v.Mount) && !strings.ContainsFunc(v.Mount, unicode.IsControl), f+".mount", "%.60q is not a mount point: use a clean absolute path other than /", v.Mount)
		c.that(v.SizeBytes >= 1<<20 && v.SizeBytes <= 64<<40, f+".size_bytes", "%d: want 1 MiB to 64 TiB", v.SizeBytes)
		c.do(validateOptionalName(f+".class", v.Class))
		c.that(v.TimeToLive >= 0 && v.TimeToLive <= 10*365*24*time.Hour, f+".time_to_live", "%v: want 0 to ten years", v.TimeToLive)
		c.that(!v.Ephemeral || v.TimeToLive == 0, f+".time_to_live", "an ephemeral volume has none: leave one of the two out")
	}
	unique(&c, "spec.volumes", vs, func(v Volume) string { return v.Mount })
	return c.err
}

func validateEnv(field string, env []EnvVar) error {
	var c checks
	c.list(field, len(env))
	unique(&c, field, env, func(e EnvVar) string { return e.Name })
	for i, e := range env {
		f := fmt.Sprintf("%s[%d]", field, i)
		c.that(isEnvName(e.Name), f+".name", "%.60q is not a variable name: use letters, digits and '_', not beginning with a digit", e.Name)
		c.that(!strings.HasPrefix(e.Name, "NAVE_"), f+".name", "%.80q: names that begin with NAVE_ are reserved", e.Name)
		c.that(!strings.Contains(e.Value, "\x00"), f+".value", "holds a zero byte: remove it")
		c.text(f+".value", e.Value)
		c.that(e.Value == "" || e.Secret == "", f+".secret", "has a value too: give a value or a secret, not both")
		if e.Secret != "" {
			name, key, ok := strings.Cut(e.Secret, "/")
			c.that(ok && isName(name) && isLabelPart(key), f+".secret", "%.60q is not a secret reference: use name/key", e.Secret)
		}
	}
	return c.err
}

func validateFiles(files []File) error {
	var c checks
	c.list("spec.files", len(files))
	unique(&c, "spec.files", files, func(f File) string { return f.Path })
	for i, file := range files {
		f := fmt.Sprintf("spec.files[%d]", i)
		p := file.Path
		c.that(p != "" && len(p) <= 512 && !path.IsAbs(p) && path.Clean(p) == p && p != "." && p != ".." && !strings.HasPrefix(p, "../") && utf8.ValidString(p) && !strings.ContainsFunc(p, unicode.IsControl),
			f+".path", "%.60q is not usable: use a clean path below the home directory, without '..'", p)
		c.text(f+".content", file.Content)
		c.that(file.Mode <= 0o777, f+".mode", "%#o: want permission bits, at most 0777", file.Mode)
	}
	return c.err
}

func validateEgress(f string, r EgressRule) error {
	var c checks
	host := strings.TrimPrefix(r.Host, "*.")
	c.that(validDNSName(host), f+".host", "%.60q is not a host: use a DNS name, or '*.' and a DNS name", r.Host)
	c.list(f+".ports", len(r.Ports))
	for i, p := range r.Ports {
		c.that(p >= 1 && p <= 65535, fmt.Sprintf("%s.ports[%d]", f, i), "%d: want 1 to 65535", p)
	}
	return c.err
}

func validateOverride(f string, o Override) error {
	var c checks
	c.that(len(o.Clusters) > 0, f+".clusters", "is empty: say which clusters the override is for")
	c.do(validateRequirements(f+".clusters", o.Clusters))
	c.that(o.Image != "" || o.Flavor != "" || o.StorageClass != "" || o.RuntimeClass != "", f, "changes nothing: give an image, a flavor, a storage class or a runtime class")
	c.do(validateImage(f+".image", o.Image))
	c.do(validateOptionalName(f+".flavor", o.Flavor))
	c.do(validateOptionalName(f+".storage_class", o.StorageClass))
	c.do(validateOptionalName(f+".runtime_class", o.RuntimeClass))
	return c.err
}

func validateImage(field, image string) error {
	if len(image) > 512 || strings.ContainsFunc(image, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return Invalid(field, "%.60q is not an image reference: use name[:tag][@digest] in ASCII without spaces", image)
	}
	return nil
}

func validateOptionalName(field, name string) error {
	if name == "" {
		return nil
	}
	return ValidateName(field, name)
}

func validateCommand(field string, cmd []string, required bool) error {
	var c checks
	c.that(!required || len(cmd) > 0, field, "is empty: give the program and its arguments")
	c.list(field, len(cmd))
	c.that(len(cmd) == 0 || cmd[0] != "", field+"[0]", "is empty: give the program to run")
	for i, a := range cmd {
		c.that(!strings.Contains(a, "\x00"), fmt.Sprintf("%s[%d]", field, i), "holds a zero byte: remove it")
		c.text(fmt.Sprintf("%s[%d]", field, i), a)
	}
	return c.err
}

// Override is which override applies in a cluster with these labels, from 1: the first that matches. 0: none does.
func (s *EnvironmentSpec) Override(labels map[string]string) int {
	return 1 + slices.IndexFunc(s.Overrides, func(o Override) bool { return MatchAll(o.Clusters, labels) })
}

// For returns the environment as it is in a cluster with these labels: the first override that matches is applied.
func (s *EnvironmentSpec) For(labels map[string]string) *EnvironmentSpec {
	out := *s
	if n := s.Override(labels); n > 0 {
		o := s.Overrides[n-1]
		out.Image = orDefault(o.Image, out.Image)
		out.Flavor = orDefault(o.Flavor, out.Flavor)
		out.RuntimeClass = orDefault(o.RuntimeClass, out.RuntimeClass)
		if o.StorageClass != "" {
			out.Volumes = append([]Volume(nil), s.Volumes...)
			for i := range out.Volumes {
				out.Volumes[i].Class = o.StorageClass
			}
		}
	}
	out.Flavor = orDefault(out.Flavor, DefaultFlavor)
	return &out
}
