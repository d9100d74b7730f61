package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/dev"
	"github.com/nave-dev/nave/hub/store"
)

func fresh(t testing.TB) string {
	t.Helper()
	token, _, err := hub.NewToken(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func write(t testing.TB, file, text string) string {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// said runs a command.
func said(t *testing.T, c *cobra.Command, args ...string) (out, note string, err error) {
	t.Helper()
	var o, n bytes.Buffer
	c.SetOut(&o)
	c.SetErr(&n)
	c.SetArgs(args)
	c.SilenceUsage, c.SilenceErrors = true, true
	err = c.ExecuteContext(t.Context())
	return o.String(), n.String(), err
}

// TestWhatAHubMadeIsToldBesideIt: the commands work while a hub holds the directory, change nothing in it, and say what to do before it is made.
func TestWhatAHubMadeIsToldBesideIt(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	file := write(t, filepath.Join(dir, "hub.yaml"), "data_dir: "+data+"\napi: {hosts: [hub.example.com]}\n")
	for _, c := range []*cobra.Command{adminTokenCommand(), caCommand()} {
		out, _, err := said(t, c, "--config", file)
		if api.CodeOf(err) != api.CodeNotFound || !strings.Contains(err.Error(), "wait until it is ready") || out != "" {
			t.Errorf("%s before the hub's first start: %q, %v", c.Name(), out, err)
		}
	}
	if _, err := os.Stat(data); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("who reads has made the directory: %v", err)
	}
	d, err := dev.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	token, err := d.AdminToken()
	if err != nil {
		t.Fatal(err)
	}
	_, ca, err := d.ServerTLS(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.SavePorts(dev.Ports{HTTP: "0.0.0.0:7400", GRPC: "0.0.0.0:7401"}); err != nil {
		t.Fatal(err)
	}
	if out, note, err := said(t, adminTokenCommand(), "--config", file); err != nil || out != token+"\n" || note != "the API listens on 0.0.0.0:7400 (gRPC on 0.0.0.0:7401); its certificate names localhost, 127.0.0.1, hub.example.com\n" {
		t.Errorf("admin-token says %q, notes %q, %v", out, note, err)
	}
	if out, note, err := said(t, caCommand(), "--config", file); err != nil || out != string(ca) || note != "" {
		t.Errorf("ca says %q, notes %q, %v\nwant %s", out, note, err, ca)
	}

	// A certificate of the operator's: its authority, not the hub's own that is still there.
	another, err := dev.Open(filepath.Join(dir, "another"))
	if err != nil {
		t.Fatal(err)
	}
	defer another.Close()
	presented, ca, err := another.ServerTLS(time.Now(), "hub.example.org")
	if err != nil {
		t.Fatal(err)
	}
	certificate, key := pair(t, presented.Certificates[0], dir)
	write(t, file, fmt.Sprintf("data_dir: %s\napi: {tls: {cert_file: %s, key_file: %s}}\n", data, certificate, key))
	if _, note, err := said(t, adminTokenCommand(), "--config", file); err != nil || !strings.HasSuffix(note, "its certificate names localhost, hub.example.org, 127.0.0.1, ::1\n") {
		t.Errorf("admin-token notes %q, %v", note, err)
	}
	if out, _, err := said(t, caCommand(), "--config", file); err != nil || out != string(ca) {
		t.Errorf("ca says %q, %v\nwant %s", out, err, ca)
	}
}

// pair writes a certificate with its chain and its key.
func pair(t *testing.T, c tls.Certificate, dir string) (certificate, key string) {
	t.Helper()
	var chain []byte
	for _, der := range c.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	b, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, filepath.Join(dir, "tls.crt"), string(chain)), write(t, filepath.Join(dir, "tls.key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b})))
}

// TestTheConfigurationIsWhereTheImageHasIt unless a flag names it.
func TestTheConfigurationIsWhereTheImageHasIt(t *testing.T) {
	for _, c := range []*cobra.Command{serveCommand(), adminTokenCommand(), caCommand()} {
		if f := c.Flags().Lookup("config"); f == nil || f.DefValue != "/etc/nave/hub.yaml" {
			t.Errorf("%s: %+v", c.Name(), f)
		}
		if _, err := os.Stat(defaultConfigFile); err == nil {
			continue // a hub is installed on this machine
		}
		if _, _, err := said(t, c); api.FieldOf(err) != "--config" {
			t.Errorf("%s without a configuration: %v", c.Name(), err)
		}
	}
}

func TestAChosenTokenHasTheFormOfOurs(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "token")
	good := fresh(t)
	printed, _, err := said(t, newTokenCommand())
	if err != nil || printed == good+"\n" || !dev.IsToken(strings.TrimSpace(printed)) {
		t.Errorf("new-token prints %q, %v", printed, err)
	}
	for what, tt := range map[string]struct{ text, want string }{
		"a token":            {good, good},
		"with a line break":  {good + "\r\n", good},
		"printed":            {printed, strings.TrimSpace(printed)},
		"nothing":            {"", ""},
		"a password":         {"correct horse battery staple", ""},
		"cut off":            {good[:len(good)-1], ""},
		"too long":           {good + "A", ""},
		"without its prefix": {strings.TrimPrefix(good, "nave_"), ""},
		"a join token":       {"nave-join-" + good[5:], ""},
		"another alphabet":   {good[:20] + "+" + good[21:], ""},
		"two lines":          {good[:20] + "\n" + good[20:], ""},
	} {
		write(t, file, tt.text)
		got, err := apiConfig{AdminTokenFile: file}.chosenToken()
		if got != tt.want || (tt.want == "") != (err != nil) {
			t.Errorf("%s: %q, %v", what, got, err)
		}
		if err == nil {
			continue
		}
		if api.FieldOf(err) != "api.admin_token_file" || !strings.Contains(err.Error(), "nave-hub new-token") || tt.text != "" && strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s is refused with %v", what, err)
		}
		c := defaults()
		c.DataDir, c.API.AdminTokenFile = dir, file
		if err := c.checkFiles(); api.FieldOf(err) != "api.admin_token_file" {
			t.Errorf("%s: check-config says %v", what, err)
		}
	}
	if _, err := (apiConfig{AdminTokenFile: filepath.Join(dir, "none")}).chosenToken(); api.FieldOf(err) != "api.admin_token_file" {
		t.Errorf("no file: %v", err)
	}
}

var errCut = errors.New("cut off")

// cut is a store that a start loses at its nth write: before it, or after it was done.
type cut struct {
	hub.Credentials
	at   int
	done bool
}

func (c *cut) PutCredential(ctx context.Context, hash [32]byte, credential hub.Credential) error {
	if c.at--; c.at != 0 {
		return c.Credentials.PutCredential(ctx, hash, credential)
	}
	if c.done {
		if err := c.Credentials.PutCredential(ctx, hash, credential); err != nil {
			return err
		}
	}
	return errCut
}

// TestOneTokenIsTheFirstAdministrators whatever tokens an operator chose before, and wherever starts were cut off: after a start it is the one in the
// data directory, and never is another one valid.
func TestOneTokenIsTheFirstAdministrators(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	c := defaults()
	c.DataDir, c.Bucket.Directory = t.TempDir(), t.TempDir()
	s, err := openStorage(t.Context(), c, log)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	changes := 0
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(c.DataDir, "hub")
		if err != nil {
			rt.Fatal(err)
		}
		tokens := []string{"", fresh(t), fresh(t), fresh(t)}
		own := ""
		for range rapid.IntRange(1, 6).Draw(rt, "starts") {
			p := &program{log: log, chosen: tokens[rapid.IntRange(0, 3).Draw(rt, "token")]}
			if p.dir, err = dev.Open(dir); err != nil {
				rt.Fatal(err)
			}
			before, _ := dev.Kept(dir).AdminToken()
			got, err := p.admin(t.Context(), &cut{s.store, rapid.IntRange(0, 3).Draw(rt, "cut"), rapid.Bool().Draw(rt, "done")})
			if err := p.dir.Close(); err != nil {
				rt.Fatal(err)
			}
			kept, _ := dev.Kept(dir).AdminToken()
			if own == "" && p.chosen == "" && before == "" {
				own = kept
			}
			valid := authenticated(rt, s.store, append(tokens[1:], own))
			switch {
			case errors.Is(err, errCut):
				if len(valid) > 1 || len(valid) == 1 && valid[0] != kept {
					rt.Fatalf("after a start that was cut off %q are valid, and %q is kept", valid, kept)
				}
			case err != nil:
				rt.Fatal(err)
			default:
				want := p.chosen
				if want == "" {
					want = kept // no choice changes nothing
				}
				if got != want || kept != want || cmp.Diff([]string{want}, valid) != "" || p.chosen == "" && before != "" && kept != before {
					rt.Fatalf("chosen %q, before %q: the token is %q, kept is %q, valid are %q", p.chosen, before, got, kept, valid)
				}
				if before != "" && before != kept {
					changes++
				}
			}
		}
	})
	if changes < 20 {
		t.Errorf("%d tokens were replaced, want at least 20", changes)
	}
}

// authenticated are those of some tokens that make an administrator.
func authenticated(t *rapid.T, s *store.Store, tokens []string) (valid []string) {
	a, err := hub.NewAuthenticator(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range tokens {
		if token == "" {
			continue
		}
		who, err := a.Authenticate(context.Background(), token)
		if err == nil && who.Role == hub.RoleAdmin {
			valid = append(valid, token)
		} else if err != nil && api.CodeOf(err) != api.CodeUnauthenticated {
			t.Fatal(err)
		}
	}
	return valid
}
