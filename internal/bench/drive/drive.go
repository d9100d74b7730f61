package drive

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/internal/version"
)

// Config is a program of benchmarks.
type Config struct {
	Name      string             // of the program
	Target    string             // of make, which runs it and writes the page
	Scenarios []measure.Scenario // all that it measures, in the order in which they run
}

// options are the command line.
type options struct {
	run      string // names of scenarios, by commas; empty: all
	only     string // parts of scenarios, by commas; empty: all
	quick    bool
	page     string
	ratios   string
	keep     bool
	profiles string
	seed     uint64
	bin      string
}

func (c Config) parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet(c.Name, flag.ContinueOnError)
	f.StringVar(&o.run, "run", "", "scenarios to run, by commas; default all")
	f.StringVar(&o.only, "only", "", "parts of the scenario alone, by commas, where it has some; its documentation names them")
	f.BoolVar(&o.quick, "quick", false, "the short form, for comparisons: seconds instead of minutes")
	f.StringVar(&o.page, "page", "", "write the figures into this page, between its marks")
	f.StringVar(&o.ratios, "ratios", "", "compare with the ratios in this file, and fail past 1.5 times one of them")
	f.BoolVar(&o.keep, "keep", false, "write the ratios into the file instead")
	f.StringVar(&o.profiles, "profiles", "", "keep profiles in this folder")
	f.Uint64Var(&o.seed, "seed", 1, "for whatever is chosen")
	f.StringVar(&o.bin, "bin", "bin", "folder of the programs")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("%q is no flag; see --help", f.Arg(0))
	case o.keep && o.ratios == "":
		return o, fmt.Errorf("--keep needs --ratios: name the file")
	case o.page != "" && o.quick:
		return o, fmt.Errorf("--page and --quick: the page has figures of the full form")
	case o.only != "" && (o.page != "" || o.ratios != ""):
		return o, fmt.Errorf("--only is for looking: pages and ratios have all figures of a scenario")
	}
	return o, nil
}

// chosen are the scenarios that are named.
func (c Config) chosen(names string) ([]measure.Scenario, error) {
	if names == "" {
		return c.Scenarios, nil
	}
	var out []measure.Scenario
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(c.Scenarios, func(s measure.Scenario) bool { return s.Name == name })
		if i < 0 {
			var all []string
			for _, s := range c.Scenarios {
				all = append(all, s.Name)
			}
			return nil, fmt.Errorf("--run: there is no scenario %q; there are %s", name, strings.Join(all, ", "))
		}
		out = append(out, c.Scenarios[i])
	}
	return out, nil
}

// Run runs what the arguments name.
func (c Config) Run(ctx context.Context, args []string) error {
	o, err := c.parse(args)
	if err != nil {
		return err
	}
	todo, err := c.chosen(o.run)
	if err != nil {
		return err
	}
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return err
	}
	if o.profiles != "" {
		if o.profiles, err = filepath.Abs(o.profiles); err != nil {
			return err
		}
		if err := os.MkdirAll(o.profiles, 0o755); err != nil {
			return err
		}
	}
	top, err := os.MkdirTemp("", "nave-bench") // short: sockets are in it
	if err != nil {
		return err
	}
	defer os.RemoveAll(top)
	facts, err := measure.LookAtMachine(top, version.Version, o.seed)
	if err != nil {
		return err
	}
	fmt.Print(machine(facts))
	var results []result
	began := time.Now()
	for _, s := range todo {
		r, err := one(ctx, s, o, top)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		results = append(results, r)
		fmt.Printf("\n%s\n", table(r))
		if o.page != "" { // a later one may fail
			if err := writePage(o.page, c.Target, facts, []result{r}); err != nil {
				return err
			}
		}
	}
	fmt.Printf("%d scenarios in %s\n", len(results), time.Since(began).Round(time.Second))
	switch {
	case o.keep:
		return keepRatios(o.ratios, results)
	case o.ratios != "":
		return compareRatios(os.Stdout, o.ratios, results)
	}
	return nil
}

// result is what came of a scenario.
type result struct {
	scenario measure.Scenario
	figures  []measure.Figure
	late     measure.Samples // of its generators
	took     time.Duration
}

func one(ctx context.Context, s measure.Scenario, o options, top string) (result, error) {
	dir := filepath.Join(top, s.Name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return result{}, err
	}
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	if err != nil {
		return result{}, err
	}
	fmt.Printf("\n%s: %s\n", s.Name, s.About)
	b := &measure.Bench{Bin: o.bin, Dir: dir, Self: self, Seed: o.seed, Quick: o.quick, Folder: o.profiles, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)).With("scenario", s.Name)}
	if o.only != "" {
		b.Only = strings.Split(o.only, ",")
	}
	began := time.Now()
	if err := s.Run(ctx, b); err != nil {
		return result{}, err
	}
	return result{s, b.Figures, b.Late, time.Since(began)}, nil
}
