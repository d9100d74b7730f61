package journal

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
)

// written makes a journal, appends batches to it, and returns where each one ends in its segment.
func written(t *testing.T, cfg Config, batches [][][]byte) (ends []int64) {
	t.Helper()
	j := open(t, cfg)
	for _, b := range batches {
		if err := j.Append(b); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, j.segments[len(j.segments)-1].end)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return ends
}

func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// A crash may leave any prefix of what was written behind the last sync. Here the file is cut at every byte: exactly the
// batches that are whole come back, and the journal goes on from there. (The header is synced before the segment gets its
// name, so that no crash cuts it.)
func TestKilledAtEveryByte(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Dir: dir, SegmentBytes: 4 << 10}
	batches := [][][]byte{records(0, 1, 9), records(1, 3, 30), records(4, 2, 1), records(6, 1, 200)}
	ends := written(t, cfg, batches)
	seg := filepath.Join(dir, segmentName(1, 0))
	whole, err := os.ReadFile(seg)
	if err != nil {
		t.Fatal(err)
	}
	for cut := int64(headerBytes); cut <= ends[len(ends)-1]; cut++ {
		for _, torn := range []string{"truncated", "zeros", "garbage"} {
			b := append([]byte(nil), whole[:cut]...)
			switch torn {
			case "zeros":
				b = append(b, make([]byte, 4<<10-cut)...)
			case "garbage":
				b = append(b, []byte(strings.Repeat("\xa5", int(4<<10-cut)))...)
			}
			if err := os.WriteFile(seg, b, 0o600); err != nil {
				t.Fatal(err)
			}
			var want []string
			for i, e := range ends {
				if e <= cut {
					want = append(want, texts(batches[i])...)
				}
			}
			j, err := Open(cfg)
			if err != nil {
				t.Fatalf("Open after a cut at %d (%s): %v", cut, torn, err)
			}
			if diff := cmp.Diff(want, replay(t, j)); diff != "" {
				t.Fatalf("records after a cut at %d (%s) (-want +got):\n%s", cut, torn, diff)
			}
			if err := j.Append(records(99, 1, 5)); err != nil {
				t.Fatal(err)
			}
			j.Close()
			if j, err = Open(cfg); err != nil {
				t.Fatalf("Open after a cut at %d (%s) and an append: %v", cut, torn, err)
			}
			if diff := cmp.Diff(append(want, "00099"), replay(t, j)); diff != "" {
				t.Fatalf("records after a cut at %d (%s) and an append (-want +got):\n%s", cut, torn, diff)
			}
			j.Close()
		}
	}
}

// Every flipped bit before the last frame is found, and the error names the file.
func TestFlippedBitBeforeTheTail(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Dir: dir, SegmentBytes: 4 << 10}
	ends := written(t, cfg, [][][]byte{records(0, 2, 20), records(2, 1, 20), records(3, 1, 20)})
	seg := filepath.Join(dir, segmentName(1, 0))
	whole, err := os.ReadFile(seg)
	if err != nil {
		t.Fatal(err)
	}
	for at := int64(0); at < ends[1]; at++ {
		b := append([]byte(nil), whole...)
		b[at] ^= 1 << (at % 8)
		if err := os.WriteFile(seg, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(cfg); api.CodeOf(err) != api.CodeFailed || !strings.Contains(err.Error(), seg+" at offset") {
			t.Fatalf("Open with a flipped bit at %d = %v, want CodeFailed with file and offset", at, err)
		}
	}
}

func TestDamageInAnEarlierSegment(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Dir: dir, SegmentBytes: 4 << 10}
	var batches [][][]byte
	for i := range 10 {
		batches = append(batches, records(i, 1, 1000))
	}
	written(t, cfg, batches)
	first := filepath.Join(dir, segmentName(1, 0))
	for name, harm := range map[string]func(t *testing.T, dir string){
		"last frame of the first segment": func(t *testing.T, dir string) {
			path := filepath.Join(dir, segmentName(1, 0))
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b[headerBytes+3*(frameHeaderBytes+1002)-1] ^= 1
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"first segment missing":  func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, segmentName(1, 0))) },
		"middle segment missing": func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, segmentName(1, 1))) },
		"head missing":           func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, headName)) },
		"head cut":               func(t *testing.T, dir string) { os.Truncate(filepath.Join(dir, headName), 10) },
	} {
		t.Run(name, func(t *testing.T) {
			d := copyDir(t, dir)
			harm(t, d)
			if _, err := Open(Config{Dir: d, SegmentBytes: 4 << 10}); api.CodeOf(err) != api.CodeFailed {
				t.Fatalf("Open = %v, want CodeFailed", err)
			}
		})
	}
	if _, err := os.Stat(first); err != nil {
		t.Fatal(err)
	}
}

// Compact is cut off before its switch, at each of its files: the old records are there. With the new head: the new ones.
func TestCompactionCrashPoints(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Dir: dir, SegmentBytes: 4 << 10}
	var old [][]byte
	for i := range 8 {
		old = append(old, records(i, 1, 1000)...)
	}
	j := open(t, cfg)
	for _, r := range old {
		if err := j.Append([][]byte{r}); err != nil {
			t.Fatal(err)
		}
	}
	fresh := records(100, 6, 3000)
	next := head{ID: j.head.ID, Generation: 2}
	var frames [][][]byte
	for _, r := range fresh {
		frames = append(frames, [][]byte{r})
	}
	segments, err := writeGeneration(cfg, next, frames)
	if err != nil {
		t.Fatal(err)
	}
	next.Segments, next.End = len(segments), segments[len(segments)-1].end
	closeAll(segments)
	j.Close()
	if len(segments) < 3 {
		t.Fatalf("the new generation has %d segments, want at least 3", len(segments))
	}
	for n := range len(segments) + 1 {
		d := copyDir(t, dir)
		for i := n; i < len(segments); i++ {
			os.Remove(filepath.Join(d, segmentName(2, i)))
		}
		os.WriteFile(filepath.Join(d, headName+".new"), []byte("{"), 0o600) // the head was being written
		c := cfg
		c.Dir = d
		j := open(t, c)
		if diff := cmp.Diff(texts(old), replay(t, j)); diff != "" {
			t.Fatalf("records with %d new segments and the old head (-want +got):\n%s", n, diff)
		}
		if err := j.Compact(fresh); err != nil {
			t.Fatalf("Compact after a crash: %v", err)
		}
		j.Close()
		if diff := cmp.Diff(texts(fresh), replay(t, open(t, c))); diff != "" {
			t.Fatalf("records after compacting again (-want +got):\n%s", diff)
		}
	}
	if err := writeHead(dir, next); err != nil { // the old generation was not cleared any more
		t.Fatal(err)
	}
	if diff := cmp.Diff(texts(fresh), replay(t, open(t, cfg))); diff != "" {
		t.Fatalf("records after the switch (-want +got):\n%s", diff)
	}
}

// A frame that was whole at the switch is never taken for a torn one.
func TestDamageAtTheEndOfACompactedGeneration(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Dir: dir, SegmentBytes: 4 << 10}
	j := open(t, cfg)
	if err := j.Compact(records(0, 3, 10)); err != nil {
		t.Fatal(err)
	}
	end := j.segments[0].end
	j.Close()
	path := filepath.Join(dir, segmentName(2, 0))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[end-1] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cfg); api.CodeOf(err) != api.CodeFailed {
		t.Fatalf("Open = %v, want CodeFailed", err)
	}
}

func TestNothingIsTakenAfterAFailedWrite(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	j := open(t, cfg)
	if err := j.Append(records(0, 1, 8)); err != nil {
		t.Fatal(err)
	}
	j.segments[0].f.Close() // the disk goes away
	if err := j.Append(records(1, 1, 8)); err == nil {
		t.Fatal("Append to a closed file succeeded")
	}
	if err := j.Compact(records(2, 1, 8)); err == nil {
		t.Fatal("Compact after a failed Append succeeded")
	}
	j.Close()
	if diff := cmp.Diff(texts(records(0, 1, 8)), replay(t, open(t, cfg))); diff != "" {
		t.Fatalf("records (-want +got):\n%s", diff)
	}
}
