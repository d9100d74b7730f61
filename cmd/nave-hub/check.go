package main

import (
	"context"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/transport/ziti/local"
)

func checkConfigCommand() *cobra.Command {
	var connect bool
	c := &cobra.Command{
		Use:   "check-config FILE",
		Short: "Check a configuration file",
		Long: `Check a configuration file: unknown fields, values out of bounds, secrets and certificates that cannot be read. With
--connect each part is tried, too, one line each: nothing is changed, and a hub that runs by the same file keeps its
addresses, which are then reported as taken.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := readConfig(args[0])
			if err != nil {
				return err
			}
			if err := cfg.checkFiles(); err != nil {
				return err
			}
			if !connect {
				_, err := fmt.Fprintf(c.OutOrStdout(), "%s is a good configuration\n", args[0])
				return err
			}
			return tryParts(c.Context(), cfg, c.OutOrStdout())
		},
	}
	c.Flags().BoolVar(&connect, "connect", false, "try every part that the file names")
	return c
}

// checkFiles reads what the configuration refers to.
func (c *config) checkFiles() error {
	for _, s := range []struct {
		section string
		secret  secret
	}{{"etcd", c.Etcd.Password}, {"archive.postgresql", c.Archive.PostgreSQL.Password}, {"overlay", c.Overlay.Password}} {
		if _, err := s.secret.read(s.section); err != nil {
			return err
		}
	}
	if t := c.Etcd.TLS; t.CertFile != "" {
		if _, err := loadPair("etcd.tls", t.CertFile, t.KeyFile); err != nil {
			return err
		}
	}
	for _, f := range []struct{ field, path string }{{"etcd.tls.ca_file", c.Etcd.TLS.CAFile}, {"overlay.ca_file", c.Overlay.CAFile}} {
		if err := checkAuthorities(f.field, f.path); err != nil {
			return err
		}
	}
	if c.API.TLS.CertFile != "" {
		if _, _, err := c.API.TLS.load(); err != nil {
			return err
		}
	}
	if _, err := c.API.chosenToken(); err != nil {
		return err
	}
	if c.Overlay.Controller != "" {
		return nil
	}
	_, err := local.FindBinary(c.Overlay.Program)
	if err != nil {
		return &api.Error{Code: api.CodeInvalid, Field: "overlay.program", Err: err}
	}
	return nil
}

// checkAuthorities reads a file of certificates, if one is named.
func checkAuthorities(field, path string) error {
	if path == "" {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return api.Invalid(field, "%w", err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(text) {
		return api.Invalid(field, "%s holds no certificate in PEM", path)
	}
	return nil
}

// partBound bounds the try of one part.
const partBound = 10 * time.Second

// part is something that a hub needs, with how to try it.
type part struct {
	name, address string
	try           func(context.Context) error
}

// parts lists what a configuration needs. Tries change nothing.
func (c config) parts() []part {
	list := []part{{"data directory", c.DataDir, func(context.Context) error { return tryDirectory(c.DataDir) }}}
	for _, l := range []struct{ name, addr string }{{"api", c.API.Listen}, {"api (gRPC)", c.API.GRPCListen}, {"metrics", c.Metrics.Listen}} {
		if l.addr != "" {
			list = append(list, part{l.name, l.addr, func(context.Context) error { return tryListen(l.addr) }})
		}
	}
	if len(c.Etcd.Endpoints) > 0 {
		for _, at := range c.Etcd.Endpoints {
			one := c.Etcd
			one.Endpoints = []string{at}
			list = append(list, part{"etcd", at, one.try})
		}
	} else {
		list = append(list, part{"etcd", "embedded", nil})
	}
	if c.Archive.PostgreSQL.DSN != "" {
		list = append(list, part{"archive", c.Archive.PostgreSQL.place(), c.tryPostgres})
	} else {
		list = append(list, part{"archive", "embedded", nil})
	}
	list = append(list, part{"bucket", c.Bucket.Directory, func(context.Context) error { return tryDirectory(c.Bucket.Directory) }})
	if c.Overlay.Controller != "" {
		return append(list, part{"overlay", c.Overlay.Controller, c.tryController})
	}
	return append(list, part{"overlay", "embedded", nil})
}

// tryParts prints a line for each part, and returns an error when one of them cannot be used.
func tryParts(ctx context.Context, c config, out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PART\tADDRESS\tMS\tRESULT")
	bad := 0
	for _, p := range c.parts() {
		result, took := "ok", "-"
		if p.try != nil {
			start := time.Now()
			within, cancel := context.WithTimeoutCause(ctx, partBound, fmt.Errorf("no answer within %v", partBound))
			if err := p.try(within); err != nil {
				if within.Err() != nil {
					err = context.Cause(within)
				}
				result = strings.ReplaceAll(err.Error(), "\n", " ")
				bad++
			}
			cancel()
			took = fmt.Sprint(time.Since(start).Milliseconds())
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", p.name, p.address, took, result)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if bad > 0 {
		return api.Errorf(api.CodeFailed, "%d of the parts cannot be used", bad)
	}
	return nil
}

// tryDirectory checks that a directory can be written, or made. What it makes it removes.
func tryDirectory(dir string) error {
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if errors.Is(err, os.ErrNotExist) && at != filepath.Dir(at) {
			continue
		}
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return fmt.Errorf("%s is not a directory", at)
		}
		f, err := os.CreateTemp(at, ".nave-check-*")
		if err != nil {
			return err
		}
		return errors.Join(f.Close(), os.Remove(f.Name()))
	}
}

func tryListen(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	return l.Close()
}

// try reads a key, so that it is known that the endpoint answers, believes the credentials, and has a quorum.
func (c etcdConfig) try(ctx context.Context) error {
	client, err := c.dial(ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = client.Get(ctx, c.Prefix)
	return err
}

// tryPostgres asks the database for its version, without a look at tables: those are made by the first start.
func (c config) tryPostgres(ctx context.Context) error {
	cfg, err := archiveConfigOf(c)
	if err != nil {
		return err
	}
	db, err := sql.Open("pgx", cfg.PostgreSQL)
	if err != nil {
		return err
	}
	defer db.Close()
	var version string
	return db.QueryRowContext(ctx, "SHOW server_version").Scan(&version)
}

// tryController logs in at the controller.
func (c config) tryController(ctx context.Context) error {
	ep, err := c.Overlay.endpoint()
	if err != nil {
		return err
	}
	_, err = login(ctx, ep, slog.New(slog.DiscardHandler))
	return err
}
