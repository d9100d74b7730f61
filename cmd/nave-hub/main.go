// Command nave-hub is the hub of a federation.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use: "nave-hub", Short: "The hub of a federation of AI agents",
		SilenceUsage: true, SilenceErrors: true, Version: version.Version,
	}
	root.AddCommand(devCommand(), serveCommand(), checkConfigCommand(), overlayCommand(), adminTokenCommand(), caCommand(), newTokenCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
