package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/transport/ziti/local"
)

// overlayOptions are the flags of nave-hub overlay.
type overlayOptions struct {
	dataDir, program, listen, logLevel string
}

func overlayCommand() *cobra.Command {
	var o overlayOptions
	c := &cobra.Command{
		Use:   "overlay --data-dir DIR",
		Short: "Run an OpenZiti network of one machine, for hubs that name it by its address",
		Long: `Run an OpenZiti network of one machine, a controller and two routers, outside of any hub. It prints what the
configuration of a hub has to say to use it. Hubs and spokes may start and end without it taking notice.

Ctrl-C ends it in order. The same directory resumes; it must not be the one that a hub's embedded overlay uses.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return runOverlay(c.Context(), o, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringVar(&o.dataDir, "data-dir", "", "directory of the network")
	f.StringVar(&o.program, "overlay-bin", "", "the program nave-overlay (default: beside this program, then PATH)")
	f.StringVar(&o.listen, "overlay-listen", "127.0.0.1", "IP address that the network listens on and advertises; fixed at the first start")
	f.StringVar(&o.logLevel, "log-level", "warn", "debug, info, warn or error")
	return c
}

func runOverlay(ctx context.Context, o overlayOptions, out, errOut io.Writer) error {
	if o.dataDir == "" {
		return api.Invalid("--data-dir", "is missing: name the directory of the network")
	}
	binary, err := local.FindBinary(o.program)
	if err != nil {
		return err
	}
	ip, err := netip.ParseAddr(o.listen)
	if err != nil {
		return api.Invalid("--overlay-listen", "%q is not an IP address", o.listen)
	}
	log, err := logger(errOut, config{Log: logConfig{Level: o.logLevel}})
	if err != nil {
		return flagged(err)
	}
	say := progress(errOut)
	net, err := local.New(local.Config{Dir: o.dataDir, Binary: binary, Listen: ip, Log: log, Progress: func(line string) { say("%s", line) }})
	if err != nil {
		return err
	}
	g := run.NewGroup(ctx)
	g.Go("overlay", net.Run)
	g.Go("tell", func(ctx context.Context) error {
		ep, err := net.Wait(ctx)
		if err != nil {
			return err
		}
		return tellEndpoint(o.dataDir, ep, out)
	})
	err = g.Wait()
	if ctx.Err() != nil {
		say("stopping the overlay")
		stop, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		err = errors.Join(err, net.Stop(stop))
		say("stopped")
	}
	return err
}

// tellEndpoint writes the authority and the administrator's password beside the network and prints what a hub needs.
func tellEndpoint(dir string, ep local.Endpoint, out io.Writer) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	ca, password := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "admin-password")
	for path, b := range map[string][]byte{ca: ep.CA, password: []byte(ep.Password + "\n")} {
		if err := renameio.WriteFile(path, b, 0o600, renameio.WithTempDir(dir), renameio.WithStaticPermissions(os.FileMode(0o600))); err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
	}
	_, err = fmt.Fprintf(out, "overlay:\n  controller: %s\n  ca_file: %s\n  username: %s\n  password_file: %s\n", ep.Controller, ca, ep.User, password)
	return err
}
