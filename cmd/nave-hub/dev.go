package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/client"
	"github.com/nave-dev/nave/hub/dev"
)

// devOptions are the flags of nave-hub dev.
type devOptions struct {
	dataDir     string
	listen      string
	grpcListen  string
	overlayBin  string
	overlayIP   string
	contextFile string
	logLevel    string
	lease       time.Duration
	profiling   string
	exposed     bool
}

func devCommand() *cobra.Command {
	var o devOptions
	c := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole hub on this machine: store, archive, overlay, API",
		Long: `Run a whole hub on this machine, with nothing else installed: embedded etcd, a SQLite archive, and a real
OpenZiti overlay of three processes. Everything lives in one data directory; the same directory resumes.

The overlay belongs to the directory: it lives on when the hub is killed, and ends when no hub has come back for 30 s.
Ctrl-C ends everything in order.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return runDev(c.Context(), o, c.ErrOrStderr()) },
	}
	f := c.Flags()
	f.StringVar(&o.dataDir, "data-dir", "", "data directory (default: nave/hub in the user's state directory)")
	f.StringVar(&o.listen, "listen", "127.0.0.1:7400", "address of the API; port 0 chooses one at the first start and keeps it")
	f.StringVar(&o.grpcListen, "grpc-listen", "127.0.0.1:7401", "address of the API's gRPC listener; port 0 as above")
	f.StringVar(&o.overlayBin, "overlay-bin", "", "the program nave-overlay (default: beside this program, then PATH)")
	f.StringVar(&o.overlayIP, "overlay-listen", "127.0.0.1", "IP address that the overlay listens on; fixed at the first start")
	f.StringVar(&o.contextFile, "context-file", "", "where the context \"dev\" for the nave command is written (default: as nave finds it)")
	f.StringVar(&o.logLevel, "log-level", "warn", "debug, info, warn or error")
	f.DurationVar(&o.lease, "lease", hub.DefaultLeaseTTL, "how long a cluster may be silent before it is lost, 3s to 1h; agents' stop_after must be 3s longer")
	f.StringVar(&o.profiling, "profiling-listen", "", "loopback address of the hub's own profiles, for go tool pprof (default: none)")
	f.BoolVar(&o.exposed, "allow-exposed", false, "allow addresses that are not loopback")
	return c
}

// runDev turns the flags into a configuration and launches the hub with it.
func runDev(ctx context.Context, o devOptions, out io.Writer) error {
	c, err := o.config()
	if err != nil {
		return err
	}
	log, err := logger(out, c)
	if err != nil {
		return err
	}
	p := &program{cfg: c, log: log, say: progress(out)}
	p.ready = func(token string, ca []byte) error {
		path, err := writeContext(o.contextFile, p.doors.http.Addr().String(), token, ca)
		if err != nil {
			return err
		}
		p.say("ready: API on https://%s (gRPC on %s), context \"dev\" in %s", p.doors.http.Addr(), p.doors.grpc.Addr(), path)
		return nil
	}
	return flagged(p.launch(ctx))
}

// config is what the flags say, over the defaults.
func (o devOptions) config() (config, error) {
	c := defaults()
	if err := o.check(); err != nil {
		return c, err
	}
	if o.dataDir == "" {
		var err error
		if o.dataDir, err = dev.DefaultPath(); err != nil {
			return c, err
		}
	}
	c.DataDir, c.API.Listen, c.API.GRPCListen = o.dataDir, o.listen, o.grpcListen
	c.Overlay.Program, c.Overlay.Listen, c.Log.Level, c.Lease = o.overlayBin, o.overlayIP, o.logLevel, o.lease
	c.Profiling.Listen = o.profiling
	return c, flagged(c.complete())
}

// flags are the flags that the fields of a configuration have in dev.
var flags = map[string]string{"data_dir": "--data-dir", "api.listen": "--listen", "api.grpc_listen": "--grpc-listen", "overlay.program": "--overlay-bin",
	"overlay.listen": "--overlay-listen", "log.level": "--log-level", "lease": "--lease", "profiling.listen": "--profiling-listen"}

// flagged names the flag in an error about a field of the configuration.
func flagged(err error) error {
	var e *api.Error
	if !errors.As(err, &e) || flags[e.Field] == "" {
		return err
	}
	out := *e
	out.Field = flags[e.Field]
	return &out
}

// check refuses what would be reachable from outside without being asked for.
func (o devOptions) check() error {
	for _, l := range []struct{ flag, addr string }{{"--listen", o.listen}, {"--grpc-listen", o.grpcListen}, {"--overlay-listen", net.JoinHostPort(o.overlayIP, "0")}} {
		host, _, err := net.SplitHostPort(l.addr)
		if err != nil {
			return api.Invalid(l.flag, "%q is not an address: use host:port", l.addr)
		}
		if p, err := netip.ParseAddr(host); !o.exposed && host != "localhost" && (err != nil || !p.IsLoopback()) {
			return api.Invalid(l.flag, "%s is not loopback: use 127.0.0.1, or say --allow-exposed", host)
		}
	}
	return nil
}

// writeContext puts the context "dev" into the contexts file that the nave command reads.
func writeContext(path, addr, token string, ca []byte) (string, error) {
	if path == "" {
		var err error
		if path, err = client.DefaultContextsPath(os.Getenv); err != nil {
			return "", err
		}
	}
	contexts, err := client.LoadContexts(path)
	if err != nil {
		return path, err
	}
	contexts.Put(client.Context{Name: "dev", Address: "https://" + addr, CA: string(ca), Token: token, Organization: string(api.DefaultOrg)})
	return path, contexts.Save(path)
}

// progress prints a line with the seconds since the start.
func progress(out io.Writer) func(format string, args ...any) {
	start := time.Now()
	return func(format string, args ...any) {
		fmt.Fprintf(out, "[%5.1f s] %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
}

func logger(out io.Writer, c config) (*slog.Logger, error) {
	level, err := c.logLevel()
	if err != nil {
		return nil, err
	}
	opts := &slog.HandlerOptions{Level: level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(out, opts)), nil
	}
	return slog.New(slog.NewTextHandler(out, opts)), nil
}
