package checkpoint

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// states are trees by their size.
var states = []struct {
	name  string
	files int
	bytes int // each
}{
	{"1000 files of 4 KiB", 1000, 4 << 10},
	{"10000 files of 4 KiB", 10_000, 4 << 10},
	{"1 file of 256 MiB", 1, 256 << 20},
}

func makeState(b *testing.B, dir string, files, bytes int) map[string]string {
	b.Helper()
	for i := range files {
		write(b, filepath.Join(dir, fmt.Sprint(i%100), fmt.Sprint(i)), noise(i, bytes))
	}
	return map[string]string{"home": dir}
}

// BenchmarkTake takes checkpoints of states: the first one, and one of the same state again. Tar is the floor: the same tree
// read once and written nowhere.
func BenchmarkTake(b *testing.B) {
	for _, state := range states {
		dir := b.TempDir()
		roots := makeState(b, filepath.Join(dir, "home"), state.files, state.bytes)
		later := func() time.Time { return time.Now().Add(time.Hour) }
		b.Run(state.name+"/tar", func(b *testing.B) {
			b.SetBytes(int64(state.files * state.bytes))
			for b.Loop() {
				w := tar.NewWriter(io.Discard)
				if err := w.AddFS(os.DirFS(roots["home"])); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(state.name+"/first", func(b *testing.B) {
			b.SetBytes(int64(state.files * state.bytes))
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				s, err := Open(Config{Dir: filepath.Join(dir, fmt.Sprint("first", n))})
				if err != nil {
					b.Fatal(err)
				}
				takeNow(b, s, roots, nil)
				s.Close()
				os.RemoveAll(s.dir)
			}
		})
		b.Run(state.name+"/unchanged", func(b *testing.B) {
			s, err := Open(Config{Dir: filepath.Join(dir, "unchanged"), now: later})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			base, _ := takeNow(b, s, roots, nil)
			b.ReportAllocs()
			for b.Loop() {
				if _, found := takeNow(b, s, roots, base); found.Read != 0 {
					b.Fatalf("%+v", found)
				}
			}
		})
		b.Run(state.name+"/restore", func(b *testing.B) {
			s, err := Open(Config{Dir: filepath.Join(dir, "restore")})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			m, _ := takeNow(b, s, roots, nil)
			b.SetBytes(int64(state.files * state.bytes))
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				to := filepath.Join(dir, fmt.Sprint("to", n))
				if _, err := s.Restore(b.Context(), m.ID(), map[string]string{"home": to}, nil); err != nil {
					b.Fatal(err)
				}
				os.RemoveAll(to)
			}
		})
	}
}
