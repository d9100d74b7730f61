package floor

import (
	"context"
	"fmt"
	"os"
)

// Command is the first argument of a floor's process.
const Command = "floor"

// programs are the floors, by name.
var programs = map[string]func(ctx context.Context, args []string) error{
	"accept":   acceptProgram,
	"slowdisk": slowDisk,
}

// Main runs a floor and returns the exit code.
func Main(args []string) int {
	if len(args) == 0 || programs[args[0]] == nil {
		fmt.Fprintf(os.Stderr, "bench floor: there is no floor %q\n", args)
		return 2
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	if err := programs[args[0]](ctx, args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "bench floor %s: %v\n", args[0], err)
		return 1
	}
	return 0
}
