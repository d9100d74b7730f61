package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/nave-dev/nave/internal/etcdtest"
	"github.com/nave-dev/nave/internal/federation"
	"github.com/nave-dev/nave/internal/postgrestest"
	"github.com/nave-dev/nave/internal/realpart"
)

// parts are what an external hub keeps its data in. They lie outside of the federation's folder: they are ended after its
// programs. The overlay is one of these, since a program of Nave runs it.
type parts struct {
	dir  string // of etcd
	etcd *etcdtest.Cluster
	db   *postgrestest.Server
}

// close ends the parts and removes what they kept. It may be called for nil.
func (p *parts) close() error {
	if p == nil {
		return nil
	}
	var errs []error
	if p.db != nil {
		errs = append(errs, p.db.Close())
	}
	if p.etcd != nil {
		errs = append(errs, p.etcd.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(p.dir))...)
}

// startExternal brings up the parts and a hub that has none of them in it, and chooses it for the nave command.
func (d *demonstration) startExternal(ctx context.Context) error {
	title("The parts of a hub, each by itself: etcd of three members, PostgreSQL, an OpenZiti network")
	if err := d.startParts(ctx); err != nil {
		return err
	}
	overlay, err := d.startOverlay(ctx)
	if err != nil {
		return err
	}
	title("A hub that is told where they are")
	api, file, err := d.configure(overlay)
	if err != nil {
		return err
	}
	if err := d.check(ctx, file); err != nil {
		return err
	}
	hub, err := d.Start("hub", "nave-hub", "serve", "--config", file)
	if err != nil {
		return err
	}
	if err := hub.Follow(ctx, federation.HubReady, os.Stdout); err != nil {
		return err
	}
	_, err = d.Nave(ctx, "context", "set", "external", "--address", "https://"+api, "--ca-file", d.Path("hub", "ca.pem"), "--token-file", d.Path("hub", "admin-token"))
	if err != nil {
		return err
	}
	d.faults, err = newFaults(ctx, d)
	return err
}

// startParts starts etcd and PostgreSQL.
func (d *demonstration) startParts(ctx context.Context) error {
	if _, err := os.Stat(d.member); err != nil {
		return fmt.Errorf("%s is not built: run `make demo-external`", d.member)
	}
	postgres, err := findPostgres(d.root)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "nave-demo-etcd-")
	if err != nil {
		return err
	}
	d.parts = &parts{dir: dir}
	if d.parts.etcd, err = etcdtest.Start(ctx, etcdtest.Config{Dir: dir, Program: []string{d.member}}); err != nil {
		return err
	}
	fmt.Printf("  etcd        %s\n", strings.Join(d.parts.etcd.Endpoints(), " "))
	password, err := d.databasePassword()
	if err != nil {
		return err
	}
	if d.parts.db, err = postgrestest.Start(ctx, postgrestest.Config{Bin: filepath.Dir(postgres), Parent: os.TempDir(), Password: password}); err != nil {
		return err
	}
	if err := d.parts.db.Create(ctx, "nave"); err != nil {
		return err
	}
	dsn, err := d.dsn()
	fmt.Printf("  PostgreSQL  %s\n", dsn)
	return err
}

// findPostgres returns the server program.
func findPostgres(root string) (string, error) {
	for _, f := range realpart.All(root) {
		if f.Part != realpart.PostgreSQL {
			continue
		}
		if f.Err != nil {
			return "", fmt.Errorf("PostgreSQL is missing: install the Debian package postgresql, or run `make deps`: %w", f.Err)
		}
		return f.Path, nil
	}
	return "", errors.New("PostgreSQL is not among the parts that are looked for")
}

// databasePassword makes the password of the hub's user in the database, and keeps it where the configuration says.
func (d *demonstration) databasePassword() (string, error) {
	password := rand.Text()
	return password, os.WriteFile(d.Path("database-password"), []byte(password+"\n"), 0o600)
}

// dsn is the connection string of the hub's database. It holds no password.
func (d *demonstration) dsn() (string, error) {
	u, err := url.Parse(d.parts.db.DSN("nave"))
	if err != nil {
		return "", err
	}
	u.User = url.User(u.User.Username())
	return u.String(), nil
}

// startOverlay runs the network and returns what it says that a hub's configuration needs.
func (d *demonstration) startOverlay(ctx context.Context) (string, error) {
	p, err := d.Start("overlay", "nave-hub", "overlay", "--data-dir", d.Path("overlay"))
	if err != nil {
		return "", err
	}
	const last = "  password_file: "
	if err := p.Follow(ctx, last, os.Stdout); err != nil {
		return "", err
	}
	_, section, begun := strings.Cut(p.Output(), "overlay:\n")
	section, rest, ended := strings.Cut(section, last)
	file, _, whole := strings.Cut(rest, "\n")
	if !begun || !ended || !whole {
		return "", fmt.Errorf("nave-hub overlay does not say what the configuration needs:\n%s", p.Output())
	}
	return "overlay:\n" + section + last + file + "\n", nil
}

// configure writes the hub's configuration. It returns the address of the API and the file.
func (d *demonstration) configure(overlay string) (api, file string, err error) {
	ports, err := freePorts(3)
	if err != nil {
		return "", "", err
	}
	dsn, err := d.dsn()
	if err != nil {
		return "", "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "data_dir: %q\n", d.Path("hub"))
	fmt.Fprintf(&b, "api:\n  listen: %s\n  grpc_listen: %s\n", ports[0], ports[1])
	fmt.Fprintf(&b, "metrics:\n  listen: %s\n", ports[2])
	fmt.Fprintf(&b, "etcd:\n  endpoints: [%s]\n", strings.Join(d.parts.etcd.Endpoints(), ", "))
	fmt.Fprintf(&b, "archive:\n  postgresql:\n    dsn: %q\n    password_file: %q\n", dsn, d.Path("database-password"))
	b.WriteString(overlay)
	file = d.Path("hub.yaml")
	fmt.Printf("  %s\n", file)
	for line := range strings.Lines(b.String()) {
		fmt.Print("    " + line)
	}
	return ports[0], file, os.WriteFile(file, []byte(b.String()), 0o600)
}

// freePorts returns addresses on loopback that nobody listened on a moment ago.
func freePorts(n int) ([]string, error) {
	var out []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }() // all at the end, so that they differ
		out = append(out, l.Addr().String())
	}
	return out, nil
}

// tries is how many parts are tried: the data directory, three listeners, three members of etcd, the archive, the bucket and
// the overlay.
const tries = 10

// check lets the hub try every part before it is started, and looks that none of the three is embedded.
func (d *demonstration) check(ctx context.Context, file string) error {
	args := []string{"check-config", "--connect", file}
	fmt.Printf("$ nave-hub %s\n", federation.Quoted(args))
	cmd := exec.CommandContext(ctx, d.Bin("nave-hub"), args...)
	var out, errs bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = d.Env(), &out, &errs
	err := cmd.Run()
	tried := 0
	for line := range strings.Lines(out.String()) {
		fmt.Print("  " + line)
		if f := strings.Fields(line); len(f) > 1 && f[len(f)-1] == "ok" && f[1] != "embedded" {
			tried++
		}
	}
	if err != nil {
		return fmt.Errorf("nave-hub %s: %w\n%s", federation.Quoted(args), err, errs.String())
	}
	if tried != tries {
		return fmt.Errorf("nave-hub %s found %d parts to be ok that are not embedded, want %d", federation.Quoted(args), tried, tries)
	}
	return nil
}
