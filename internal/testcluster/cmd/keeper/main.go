// Keeper is the parent of a test bed's processes: package keeper has its rules, package testcluster builds and starts it.
package main

import (
	"fmt"
	"os"

	"github.com/nave-dev/nave/internal/testcluster/keeper"
)

func main() {
	if err := keeper.Serve(os.Stdin, os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "keeper:", err)
		os.Exit(1)
	}
}
