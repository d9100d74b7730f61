// Parts prints which real programs the tests will find on this machine:
//
//	go run ./internal/realpart/cmd/parts
//
// and, after the tests, which of them did not run:
//
//	go run ./internal/realpart/cmd/parts -not-run FILE
//
// where FILE is what NAVE_NOT_RUN named. It then exits with 1 if CI=true and a test did not run.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/nave-dev/nave/internal/realpart"
)

func main() {
	notRun := flag.String("not-run", "", "`file` with the tests that did not run; empty: print the table of parts")
	flag.Parse()
	if err := show(os.Stdout, *notRun); err != nil {
		fmt.Fprintln(os.Stderr, "parts:", err)
		os.Exit(1)
	}
}

func show(w io.Writer, notRun string) error {
	if notRun != "" {
		return showMisses(w, notRun)
	}
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	root, err := realpart.Root(here)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "REAL PART\tSTATE\tWHERE, OR THE COMMAND THAT GETS IT")
	for _, f := range realpart.All(root) {
		if f.Err != nil {
			fmt.Fprintf(t, "%s\tmissing\t%s\n", f.Part, f.Get)
		} else {
			fmt.Fprintf(t, "%s\tfound\t%s\n", f.Part, f.Path)
		}
	}
	return t.Flush()
}

func showMisses(w io.Writer, file string) error {
	misses, err := realpart.ReadMisses(file)
	if err != nil {
		return err
	}
	if len(misses) == 0 {
		fmt.Fprintln(w, "NOT RUN: nothing")
		return nil
	}
	fmt.Fprintf(w, "NOT RUN: %d\n", len(misses))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, m := range misses {
		fmt.Fprintf(t, "  %s\t%s\tneeds %s\tit comes by: %s\n", m.Package, m.Test, m.Part, m.Get)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if os.Getenv("CI") == "true" {
		return fmt.Errorf("%d tests did not run, and CI=true", len(misses))
	}
	return nil
}
