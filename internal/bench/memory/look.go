package memory

import (
	"context"

	"github.com/nave-dev/nave/internal/bench/measure"
)

// look is what a program has of memory, in bytes.
type look struct {
	measure.Memory
	Live float64 // objects and stacks that are in use after a collection
}

// lookAt looks at a program that was left alone, first as it is, then after collections. Profiles are at an address.
func lookAt(ctx context.Context, pid int, address string) (l look, err error) {
	if l.Memory, err = measure.MemoryOf(pid); err != nil {
		return l, err
	}
	l.Live, err = liveOf(ctx, address)
	return l, err
}

// liveOf is what a program's objects and stacks take after collections, in bytes.
func liveOf(ctx context.Context, address string) (float64, error) {
	var c measure.Counts
	for range 2 { // pools keep what they have over one collection
		var err error
		if c, err = measure.CountsOf(ctx, address, true); err != nil {
			return 0, err
		}
	}
	return c.Live, nil
}

// slopes are the growths of a program's memory per link, in KiB.
type slopes struct{ live, anonymous, resident float64 }

func slopesOf(counts []int, looks []look) slopes {
	var x, live, anonymous, resident []float64
	for i, l := range looks {
		x = append(x, float64(counts[i]))
		live, anonymous, resident = append(live, l.Live/1024), append(anonymous, float64(l.Anonymous)/1024), append(resident, float64(l.Resident)/1024)
	}
	return slopes{measure.Slope(x, live), measure.Slope(x, anonymous), measure.Slope(x, resident)}
}
