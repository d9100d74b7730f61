package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
)

func open(t testing.TB, cfg Config) *Journal {
	t.Helper()
	j, err := Open(cfg)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func replay(t testing.TB, j *Journal) []string {
	t.Helper()
	var got []string
	if err := j.Replay(func(r []byte) error { got = append(got, string(r)); return nil }); err != nil {
		t.Fatalf("Replay: %v", err)
	}
	return got
}

func records(from, n, size int) [][]byte {
	var rs [][]byte
	for i := range n {
		rs = append(rs, fmt.Appendf(nil, "%0*d", size, from+i))
	}
	return rs
}

func texts(rs [][]byte) []string {
	var out []string
	for _, r := range rs {
		out = append(out, string(r))
	}
	return out
}

// The journal against a slice, through reopenings, compactions, rotations and recycled files.
func TestBehavesLikeASlice(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "j")
		if err != nil {
			rt.Fatal(err)
		}
		cfg := Config{Dir: dir, SegmentBytes: 4 << 10, MaxBytes: 64 << 10}
		j, err := Open(cfg)
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { j.Close() }()
		id := j.ID()
		var want []string
		gen := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 3000), 0, 6)
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				rs := gen.Draw(rt, "records")
				switch err := j.Append(rs); {
				case api.CodeOf(err) == api.CodeLimit && j.Size()+frameBytes(rs) > cfg.MaxBytes:
				case err != nil:
					rt.Fatalf("Append: %v", err)
				default:
					want = append(want, texts(rs)...)
				}
			},
			"compact": func(rt *rapid.T) {
				rs := gen.Draw(rt, "records")
				if err := j.Compact(rs); err != nil {
					rt.Fatalf("Compact: %v", err)
				}
				want = texts(rs)
			},
			"reopen": func(rt *rapid.T) {
				size := j.Size()
				if err := j.Close(); err != nil {
					rt.Fatal(err)
				}
				var err error
				if j, err = Open(cfg); err != nil {
					rt.Fatalf("Open: %v", err)
				}
				var got []string
				if err := j.Replay(func(r []byte) error { got = append(got, string(r)); return nil }); err != nil {
					rt.Fatalf("Replay: %v", err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					rt.Fatalf("records after reopening (-want +got):\n%s", diff)
				}
				if j.ID() != id || j.Size() != size {
					rt.Fatalf("id %s size %d after reopening, want %s and %d", j.ID(), j.Size(), id, size)
				}
			},
		})
	})
}

func TestFullJournalRefusesAndCompactFrees(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), SegmentBytes: 4 << 10, MaxBytes: 8 << 10}
	j := open(t, cfg)
	n := 0
	for ; n < 100; n++ {
		if err := j.Append(records(n, 1, 500)); err != nil {
			if api.CodeOf(err) != api.CodeLimit {
				t.Fatalf("Append = %v, want CodeLimit", err)
			}
			break
		}
	}
	if n < 10 || n == 100 {
		t.Fatalf("the journal took %d records of 500 bytes with a limit of 8 KiB", n)
	}
	if err := j.Compact(records(7, 1, 500)); err != nil {
		t.Fatalf("Compact of a full journal: %v", err)
	}
	if err := j.Append(records(8, 1, 500)); err != nil {
		t.Fatalf("Append after Compact: %v", err)
	}
	j.Close()
	if diff := cmp.Diff(texts(records(7, 2, 500)), replay(t, open(t, cfg))); diff != "" {
		t.Fatalf("records (-want +got):\n%s", diff)
	}
}

func TestSecondOpenIsRefused(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	j := open(t, cfg)
	if _, err := Open(cfg); api.CodeOf(err) != api.CodeInUse {
		t.Fatalf("second Open = %v, want CodeInUse", err)
	}
	j.Close()
	open(t, cfg)
}

func TestReplayAfterAppendIsRefused(t *testing.T) {
	j := open(t, Config{Dir: t.TempDir()})
	if err := j.Append(records(0, 1, 8)); err != nil {
		t.Fatal(err)
	}
	if err := j.Replay(func([]byte) error { return nil }); api.CodeOf(err) != api.CodeFailed {
		t.Fatalf("Replay after Append = %v, want CodeFailed", err)
	}
}

func TestConfigNamesTheField(t *testing.T) {
	for field, cfg := range map[string]Config{
		"journal.dir":           {},
		"journal.segment_bytes": {Dir: "x", SegmentBytes: 1},
		"journal.max_bytes":     {Dir: "x", MaxBytes: 1},
	} {
		if _, err := Open(cfg); api.FieldOf(err) != field {
			t.Errorf("Open(%+v) = %v, want an error about %s", cfg, err, field)
		}
	}
}

func TestSegmentsAreRecycledAndBounded(t *testing.T) {
	dir := t.TempDir()
	j := open(t, Config{Dir: dir, SegmentBytes: 4 << 10})
	for i := range 10 {
		for k := range 20 {
			if err := j.Append(records(k, 1, 2000)); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.Compact(records(i, 1, 8)); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) > 2+1+maxSpares {
		t.Fatalf("%d files are left after compaction, want head, lock, one segment and at most %d spares: %v", len(files), maxSpares, files)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, batch := range []int{1, 25} {
		rs := records(0, batch, 300)
		b.Run(fmt.Sprintf("journal/batch=%d", batch), func(b *testing.B) {
			j := open(b, Config{Dir: b.TempDir()})
			for b.Loop() {
				err := j.Append(rs)
				if api.CodeOf(err) == api.CodeLimit {
					err = j.Compact(nil)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(batch*b.N)/b.Elapsed().Seconds(), "records/s")
		})
		b.Run(fmt.Sprintf("floor/batch=%d", batch), func(b *testing.B) { // write and sync of as many bytes, nothing else
			f, err := os.Create(filepath.Join(b.TempDir(), "floor"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			if err := allocate(f, DefaultSegmentBytes); err != nil {
				b.Fatal(err)
			}
			buf := make([]byte, frameBytes(rs))
			off := int64(0)
			for b.Loop() {
				if off+int64(len(buf)) > DefaultSegmentBytes {
					off = 0
				}
				if _, err := f.WriteAt(buf, off); err != nil {
					b.Fatal(err)
				}
				if err := syncData(f); err != nil {
					b.Fatal(err)
				}
				off += int64(len(buf))
			}
			b.ReportMetric(float64(batch*b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
