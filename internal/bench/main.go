package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/nave-dev/nave/internal/bench/drive"
	"github.com/nave-dev/nave/internal/bench/floor"
	"github.com/nave-dev/nave/internal/etcdtest/member"
)

func main() {
	member.Main() // when this process is to be one of etcd
	if len(os.Args) > 1 && os.Args[1] == floor.Command {
		os.Exit(floor.Main(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := drive.Config{Name: "bench", Target: "bench", Scenarios: scenarios}.Run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
