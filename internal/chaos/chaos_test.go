package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/nave-dev/nave/internal/realpart"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(agentEnv); dir != "" {
		os.Exit(agent(dir))
	}
	os.Exit(m.Run())
}

// TestShortChaos is the short form; NAVE_CHAOS_SEED repeats a run as far as the machine does.
func TestShortChaos(t *testing.T) {
	for _, p := range []realpart.Part{realpart.NaveHub, realpart.NaveSpoke, realpart.NaveHarness, realpart.NaveOverlay, realpart.NaveCLI} {
		realpart.Need(t, p)
	}
	seed := uint64(time.Now().UnixNano()) % 1_000_000
	if s := os.Getenv("NAVE_CHAOS_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	o := short(seed)
	o.bin = filepath.Dir(realpart.Path(t, realpart.NaveHub))
	if err := chaos(context.Background(), o, t.Output()); err != nil {
		t.Fatal(err)
	}
}
