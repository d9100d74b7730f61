package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func serveCommand() *cobra.Command {
	return configured(&cobra.Command{
		Use:   "serve",
		Short: "Run a hub by its configuration",
		Long: `Run a hub by a configuration file. Each part is embedded unless the file names its address, so that the same program
and file serve a single machine and a production: etcd, PostgreSQL, an OpenZiti network. docs/configuration.md explains
every field; "nave-hub check-config FILE" checks a file before it is used.

The first start makes the token of the first administrator, unless api.admin_token_file names one: "nave-hub admin-token"
prints it, beside the hub that runs, and "nave-hub ca" by which authority the API is believed.`,
	}, func(c *cobra.Command, cfg config) error { return runServe(c.Context(), cfg, c.ErrOrStderr()) })
}

func runServe(ctx context.Context, cfg config, out io.Writer) error {
	log, err := logger(out, cfg)
	if err != nil {
		return err
	}
	p := &program{cfg: cfg, log: log, say: func(format string, args ...any) { log.Info(fmt.Sprintf(format, args...)) }}
	p.ready = func(_ string, _ []byte) error {
		p.say("ready: API on https://%s (gRPC on %s), token of the first administrator in %s", p.doors.http.Addr(), p.doors.grpc.Addr(), p.dir.Join("admin-token"))
		return nil
	}
	return p.launch(ctx)
}
