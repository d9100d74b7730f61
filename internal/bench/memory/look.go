package memory

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

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
	for range 2 { // pools keep what they have over one collection
		if l.Live, err = liveOf(ctx, address); err != nil {
			return l, err
		}
	}
	return l, nil
}

// liveOf is what a program's objects and stacks take after a collection, in bytes.
func liveOf(ctx context.Context, address string) (live float64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/debug/pprof/heap?gc=1&debug=1", nil)
	if err != nil {
		return 0, err
	}
	req.Close = true // a connection that is kept would be counted next time
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err
	}
	found := 0
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "# "), " = ")
		if name != "HeapAlloc" && name != "Stack" {
			continue
		}
		value, _, _ = strings.Cut(value, " ") // of stacks it says "in use / from the system"
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, err
		}
		live += n
		found++
	}
	if found != 2 {
		return 0, fmt.Errorf("%s says of memory: %.200q", address, text)
	}
	return live, nil
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
