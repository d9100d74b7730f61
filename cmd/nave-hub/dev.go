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
	"github.com/nave-dev/nave/hub/client"
	"github.com/nave-dev/nave/hub/dev"
	"github.com/nave-dev/nave/transport/ziti/local"
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
	f.BoolVar(&o.exposed, "allow-exposed", false, "allow addresses that are not loopback")
	return c
}

// runDev is the way of a start, step by step; what it began it ends in the reverse order.
func runDev(ctx context.Context, o devOptions, out io.Writer) (err error) {
	say := progress(out)
	log, err := logger(out, o.logLevel)
	if err != nil {
		return err
	}
	overlayIP, err := o.check()
	if err != nil {
		return err
	}
	binary, err := local.FindBinary(o.overlayBin)
	if err != nil {
		return err
	}
	if o.dataDir == "" {
		if o.dataDir, err = dev.DefaultPath(); err != nil {
			return err
		}
	}
	dir, err := dev.Open(o.dataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	say("data directory %s", dir.Path)

	doors, err := openDoors(dir, o)
	if err != nil {
		return err
	}
	defer doors.close()
	h := &program{dir: dir, log: log, say: say, doors: doors}
	h.overlay, err = local.New(local.Config{Dir: dir.Join("overlay"), Binary: binary, Listen: overlayIP, Log: log,
		Progress: func(line string) { say("%s", line) }})
	if err != nil {
		return err
	}
	err = h.run(ctx, func(token string, ca []byte) error {
		path, err := writeContext(o.contextFile, doors.http.Addr().String(), token, ca)
		if err != nil {
			return err
		}
		say("ready: API on https://%s (gRPC on %s), context \"dev\" in %s", doors.http.Addr(), doors.grpc.Addr(), path)
		return nil
	})
	if ctx.Err() != nil {
		// A person asked for the end, so the overlay ends too; after a failure it stays for the next start.
		say("stopping the overlay")
		stop, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		err = errors.Join(err, h.overlay.Stop(stop))
		say("stopped")
	}
	return err
}

// check refuses what would be reachable from outside without being asked for.
func (o devOptions) check() (netip.Addr, error) {
	ip, err := netip.ParseAddr(o.overlayIP)
	if err != nil {
		return ip, api.Invalid("overlay-listen", "%q is not an IP address", o.overlayIP)
	}
	for field, addr := range map[string]string{"listen": o.listen, "grpc-listen": o.grpcListen, "overlay-listen": net.JoinHostPort(o.overlayIP, "0")} {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return ip, api.Invalid(field, "%q is not an address: use host:port", addr)
		}
		if p, err := netip.ParseAddr(host); !o.exposed && host != "localhost" && (err != nil || !p.IsLoopback()) {
			return ip, api.Invalid(field, "%s is not loopback: use 127.0.0.1, or say --allow-exposed", host)
		}
	}
	return ip, nil
}

// doors are the listeners of the API, opened before anything else so that a taken port is known at once.
type doors struct{ http, grpc net.Listener }

func (d *doors) close() {
	for _, l := range []net.Listener{d.http, d.grpc} {
		if l != nil {
			l.Close()
		}
	}
}

// openDoors listens where the flags say. A port 0 is replaced by the one that the first start chose, so that contexts and
// join tokens stay true.
func openDoors(dir *dev.Directory, o devOptions) (*doors, error) {
	kept, err := dir.Ports()
	if err != nil {
		return nil, err
	}
	d := &doors{}
	if d.http, err = listen("--listen", o.listen, kept.HTTP); err != nil {
		return nil, err
	}
	if d.grpc, err = listen("--grpc-listen", o.grpcListen, kept.GRPC); err != nil {
		d.close()
		return nil, err
	}
	if err := dir.SavePorts(dev.Ports{HTTP: d.http.Addr().String(), GRPC: d.grpc.Addr().String()}); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func listen(flag, addr, kept string) (net.Listener, error) {
	if host, port, _ := net.SplitHostPort(addr); port == "0" && kept != "" {
		if keptHost, keptPort, err := net.SplitHostPort(kept); err == nil && keptHost == host {
			addr = net.JoinHostPort(host, keptPort)
		}
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, api.Errorf(api.CodeFailed, "listen on %s: %w: stop what uses it, or choose another address with %s", addr, err, flag)
	}
	return l, nil
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

func logger(out io.Writer, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, api.Invalid("log-level", "%q: want debug, info, warn or error", level)
	}
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: l})), nil
}
