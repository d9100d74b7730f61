package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/nave-dev/nave/internal/bench/measure"
)

// stacks counts goroutines by where they are.
type stacks map[string]int

// total is how many there are.
func (s stacks) total() int64 {
	n := 0
	for _, c := range s {
		n += c
	}
	return int64(n)
}

// more lists the places that have more goroutines than before, the most first.
func (s stacks) more(before stacks) []string {
	type place struct {
		where string
		n     int
	}
	var grown []place
	for where, n := range s {
		if d := n - before[where]; d > 0 {
			grown = append(grown, place{where, d})
		}
	}
	slices.SortFunc(grown, func(a, b place) int {
		if a.n != b.n {
			return b.n - a.n
		}
		return strings.Compare(a.where, b.where)
	})
	var out []string
	for _, p := range grown {
		out = append(out, fmt.Sprintf("%+d %s", p.n, p.where))
	}
	return out
}

// parseStacks reads a goroutine profile in its text form: "N @ addresses", then one line per frame.
func parseStacks(text []byte) stacks {
	out, n := stacks{}, 0
	var frames []string
	done := func() {
		if n > 0 {
			out[strings.Join(frames, " < ")] += n
		}
		n, frames = 0, nil
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		line := lines.Text()
		if count, _, ok := strings.Cut(line, " @ "); ok {
			done()
			n, _ = strconv.Atoi(count)
			continue
		}
		if f := strings.Fields(line); len(f) >= 3 && f[0] == "#" && strings.HasPrefix(f[1], "0x") && len(frames) < 8 {
			name, _, _ := strings.Cut(f[2], "+")
			frames = append(frames, name)
		}
	}
	done()
	return out
}

// profile fetches a profile of a program in its text form.
func profile(ctx context.Context, address, name string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/debug/pprof/"+name, nil)
	if err != nil {
		return nil, err
	}
	req.Close = true // a connection that is kept would be counted next time
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("profile %s: %s", name, res.Status)
	}
	return io.ReadAll(res.Body)
}

// heap is what a program holds after a forced collection, in bytes.
type heap struct {
	all  int64 // by the runtime's own count
	ours int64 // by the profile, what an embedded etcd allocated left out: that keeps the last entries of its log by design
}

// parseHeap reads a heap profile in its text form: "objects: bytes [all objects: all bytes] @ addresses", then one line per
// frame. Its numbers are of samples.
func parseHeap(text []byte) (h heap, err error) {
	rate, size, etcd, said := 0.0, 0.0, false, false
	done := func() {
		if !etcd {
			h.ours += int64(size)
		}
		size, etcd = 0, false
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Buffer(nil, 1<<20); lines.Scan(); {
		line := lines.Text()
		if n, ok := strings.CutPrefix(line, "# HeapAlloc = "); ok {
			h.all, err = strconv.ParseInt(n, 10, 64)
			said = err == nil
		}
		if _, twice, ok := strings.Cut(line, " @ heap/"); ok {
			n, err := strconv.ParseFloat(twice, 64)
			if err != nil {
				return h, fmt.Errorf("the rate of a heap profile: %w", err)
			}
			rate = n / 2
			continue
		}
		if numbers, _, ok := strings.Cut(line, " @ "); ok {
			done()
			var objects, held float64
			if _, err := fmt.Sscanf(strings.TrimSpace(numbers), "%g: %g [", &objects, &held); err != nil {
				return h, fmt.Errorf("a sample of a heap profile: %w", err)
			}
			if size = held; objects > 0 && rate > 0 {
				size /= 1 - math.Exp(-held/objects/rate) // one byte in so many is looked at
			}
			continue
		}
		etcd = etcd || strings.Contains(line, "\tgo.etcd.io/")
	}
	done()
	if !said || rate == 0 {
		return h, errors.New("the heap profile does not say HeapAlloc, or no rate")
	}
	return h, errors.Join(err, lines.Err())
}

// files counts the open descriptors of a process by kind.
func files(pid int) (map[string]int64, error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	out := map[string]int64{}
	for _, e := range entries {
		to, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil {
			continue // closed meanwhile
		}
		kind := "file"
		if name, _, ok := strings.Cut(to, ":"); ok && !strings.HasPrefix(to, "/") {
			kind = name // socket, pipe, anon_inode
		}
		out[kind]++
	}
	return out, nil
}

// program adds what /proc says of one.
func (t *table) program(name string, pid int) error {
	open, err := files(pid)
	if err != nil {
		return err
	}
	for _, kind := range []string{"socket", "pipe", "anon_inode", "file"} {
		t.add(name+": open "+kind, open[kind], count, few, 0).slope = countSlope
	}
	m, err := measure.MemoryOf(pid)
	if err != nil {
		return err
	}
	t.add(name+": anonymous memory", m.Anonymous, bytesUnit, anonymousSlack, anonymousPerCycle)
	n, err := threads(pid)
	if err != nil {
		return err
	}
	t.add(name+": threads", n, count, threadSlack, 0).slope = countSlope
	return nil
}

// profiled adds what the profiles of a program say.
func (t *table) profiled(ctx context.Context, name, address string) error {
	text, err := profile(ctx, address, "goroutine?debug=1")
	if err != nil {
		return err
	}
	s := parseStacks(text)
	t.add(name+": goroutines", s.total(), count, goroutineSlack, 0).slope = countSlope
	t.stacks[name] = s
	text, err = profile(ctx, address, "heap?gc=1&debug=1")
	if err != nil {
		return err
	}
	heap, err := parseHeap(text)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	t.add(name+": live heap", heap.all, bytesUnit, heapSlack, heapPerCycle)
	slope := float64(heapSlope)
	if name == "hub" {
		slope = hubHeapSlope
	}
	t.add(name+": live heap without etcd", heap.ours, bytesUnit, heapSlack, heapPerCycle).slope = slope
	return nil
}

func threads(pid int) (int64, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	return int64(len(entries)), err
}

// processes counts the living processes and the zombies that descend from one.
func processes(root int) (living, zombies int64, err error) {
	type process struct {
		parent int
		state  string
	}
	all := map[int]process{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, 0, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue // has ended
		}
		if f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])); len(f) > 1 {
			parent, _ := strconv.Atoi(f[1])
			all[pid] = process{parent, f[0]}
		}
	}
	for pid := range all {
		for at := pid; at != 0; at = all[at].parent {
			if at != root {
				continue
			}
			if all[pid].state == "Z" {
				zombies++
			} else {
				living++
			}
			break
		}
	}
	return living, zombies, nil
}

// tree counts what is below a directory, and its bytes. Logs grow by design and are left out.
func tree(dir string) (entries, size int64, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil // removed meanwhile, or not there
		}
		if err != nil || path == dir || strings.HasSuffix(path, ".log") {
			return err
		}
		entries++
		if info, err := d.Info(); err == nil && !d.IsDir() {
			size += info.Size()
		}
		return nil
	})
	return entries, size, err
}
