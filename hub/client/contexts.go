package client

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"sigs.k8s.io/yaml"

	"github.com/nave-dev/nave/api"
)

// maxContexts bounds a contexts file.
const maxContexts = 1 << 20 // bytes

// Context is one hub that a person works with.
type Context struct {
	Name         string `json:"name"`
	Address      string `json:"address"`                // "https://host:port"
	CA           string `json:"ca,omitempty"`           // PEM
	Token        string `json:"token,omitempty"`        // bearer token
	Organization string `json:"organization,omitempty"` // of requests that name none
}

// Config is how to reach the context's hub.
func (c Context) Config() Config {
	return Config{Address: c.Address, CA: []byte(c.CA), Token: c.Token, Organization: c.Organization}
}

// Contexts is the content of a contexts file.
type Contexts struct {
	Current  string    `json:"current,omitempty"` // name of the context that is used when none is named
	Contexts []Context `json:"contexts,omitempty"`
}

// DefaultContextsPath is $NAVE_CONFIG, else nave/config.yaml below $XDG_CONFIG_HOME, else below ~/.config. env looks an
// environment variable up, as os.Getenv does.
func DefaultContextsPath(env func(string) string) (string, error) {
	if p := env("NAVE_CONFIG"); p != "" {
		return p, nil
	}
	if d := env("XDG_CONFIG_HOME"); filepath.IsAbs(d) { // by its specification a relative one is ignored
		return filepath.Join(d, "nave", "config.yaml"), nil
	}
	if h := env("HOME"); h != "" {
		return filepath.Join(h, ".config", "nave", "config.yaml"), nil
	}
	return "", api.Errorf(api.CodeFailed, "no place for the contexts file: set NAVE_CONFIG or HOME")
}

// LoadContexts reads a contexts file. A file that does not exist holds no contexts. One that others than its owner can
// read is refused, since it holds tokens.
func LoadContexts(path string) (*Contexts, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &Contexts{}, nil
	}
	if err != nil {
		return nil, &api.Error{Code: api.CodeFailed, Op: "read contexts", Err: err}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, &api.Error{Code: api.CodeFailed, Op: "read contexts", Err: err}
	}
	if !info.Mode().IsRegular() {
		return nil, api.Errorf(api.CodeFailed, "%s is not a file: give the path of a contexts file", path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, api.Errorf(api.CodeFailed, "%s holds tokens and is open to others (mode %04o): run chmod 600 %s, and replace its tokens if others use this machine", path, info.Mode().Perm(), path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxContexts+1))
	if err != nil {
		return nil, &api.Error{Code: api.CodeFailed, Op: "read contexts", Err: err}
	}
	if len(text) > maxContexts {
		return nil, api.Errorf(api.CodeLimit, "%s is larger than %d bytes: it is not a contexts file", path, maxContexts)
	}
	var cs Contexts
	if err := yaml.UnmarshalStrict(text, &cs); err != nil {
		return nil, &api.Error{Code: api.CodeInvalid, Op: "read " + path, Err: err}
	}
	return &cs, cs.validate()
}

func (cs *Contexts) validate() error {
	seen := map[string]bool{}
	for _, c := range cs.Contexts {
		if c.Name == "" || seen[c.Name] {
			return api.Invalid("contexts", "%q is empty or there twice: give every context a name of its own", c.Name)
		}
		seen[c.Name] = true
	}
	if cs.Current != "" && !seen[cs.Current] {
		return api.Invalid("current", "%q is none of the contexts: run nave context use NAME", cs.Current)
	}
	return nil
}

// Find returns the named context, or the current one for an empty name.
func (cs *Contexts) Find(name string) (Context, error) {
	if name == "" {
		name = cs.Current
	}
	if name == "" {
		return Context{}, api.Errorf(api.CodeFailed, "no context is chosen: run nave context use NAME, or nave context set NAME --address https://host:port")
	}
	for _, c := range cs.Contexts {
		if c.Name == name {
			return c, nil
		}
	}
	return Context{}, api.Errorf(api.CodeNotFound, "there is no context %q: nave context list shows those that there are", name)
}

// Put adds a context or replaces the one of its name. The first one becomes the current one.
func (cs *Contexts) Put(c Context) {
	if cs.Current == "" {
		cs.Current = c.Name
	}
	for i := range cs.Contexts {
		if cs.Contexts[i].Name == c.Name {
			cs.Contexts[i] = c
			return
		}
	}
	cs.Contexts = append(cs.Contexts, c)
}

// Save writes the file for its owner alone: at once as a whole, or not at all.
func (cs *Contexts) Save(path string) error {
	if err := cs.validate(); err != nil {
		return err
	}
	text, err := yaml.Marshal(cs)
	if err == nil {
		err = replace(path, text)
	}
	if err != nil {
		return &api.Error{Code: api.CodeFailed, Op: "write contexts", Err: err}
	}
	return nil
}

// replace writes a file of mode 0600 by way of a neighbour. A link keeps pointing to its target.
func replace(path string, text []byte) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return renameio.WriteFile(path, text, 0o600, renameio.WithTempDir(dir), renameio.WithStaticPermissions(0o600))
}
