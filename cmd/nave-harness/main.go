// Command nave-harness is the supervisor inside a workload. A runtime starts it with the path of the workload's description.
package main

import (
	"fmt"
	"os"

	"github.com/nave-dev/nave/internal/version"
	"github.com/nave-dev/nave/spoke/harness"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: nave-harness DESCRIPTION")
		os.Exit(2)
	}
	os.Exit(harness.Main(os.Args[1], version.Version, os.Stderr))
}
