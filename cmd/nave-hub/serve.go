package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/api"
)

func serveCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run a hub by its configuration",
		Long: `Run a hub by a configuration file. Each part is embedded unless the file names its address, so that the same program
and file serve a single machine and a production: etcd, PostgreSQL, an OpenZiti network. docs/configuration.md explains
every field; "nave-hub check-config FILE" checks a file before it is used.

The first start writes the token of the first administrator to admin-token in the data directory.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if file == "" {
				return api.Invalid("--config", "is missing: name the configuration file")
			}
			return runServe(c.Context(), file, c.ErrOrStderr())
		},
	}
	c.Flags().StringVar(&file, "config", "", "the configuration file")
	return c
}

func runServe(ctx context.Context, file string, out io.Writer) error {
	cfg, err := readConfig(file)
	if err != nil {
		return err
	}
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
