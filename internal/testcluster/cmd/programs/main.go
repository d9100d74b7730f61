// Programs builds everything that the test clusters consist of, unless it is in the cache, and prints the folder that holds it.
//
//	programs [--possible]
//
// With --possible it only tries whether clusters can run on this machine. When they cannot, it prints why and ends with 3.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/nave-dev/nave/internal/testcluster"
)

func main() {
	possible := flag.Bool("possible", false, "only try whether clusters can run on this machine")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if *possible {
		if err := testcluster.Possible(ctx); err != nil {
			fmt.Println(err)
			stop()
			os.Exit(3)
		}
		return
	}
	bin, err := testcluster.Programs(ctx, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		fmt.Fprintln(os.Stderr, "programs:", err)
		os.Exit(1)
	}
	fmt.Println(bin.Dir)
}
