package checkpoint

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

const (
	fileBytes = 64 << 10
	perFolder = 256
)

// state is a tree of files.
type state struct {
	dir   string
	files int
	rand  *rand.ChaCha8
}

// newState writes a state of so many bytes.
func newState(dir string, bytes int64, seed uint64) (*state, error) {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	s := &state{dir: dir, files: int(bytes / fileBytes), rand: rand.NewChaCha8(key)}
	for i := range s.files {
		if err := s.write(i); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *state) path(i int) string {
	return filepath.Join(s.dir, fmt.Sprint(i/perFolder), fmt.Sprint(i))
}

// write gives a file new content.
func (s *state) write(i int) error {
	b := make([]byte, fileBytes)
	_, _ = s.rand.Read(b) // never fails
	if err := os.MkdirAll(filepath.Dir(s.path(i)), 0o700); err != nil {
		return err
	}
	return os.WriteFile(s.path(i), b, 0o600)
}

// change gives one file of a hundred new content, at least one, and returns how many.
func (s *state) change() (int, error) {
	n := max(1, s.files/100)
	for i := range n {
		if err := s.write(i * (s.files / n)); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// floor reads and hashes all files, and writes the first so many bytes of them to a file with a sync.
func (s *state) floor(written int64) (time.Duration, error) {
	began := time.Now()
	out, err := os.Create(s.dir + ".floor")
	if err != nil {
		return 0, err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	h, buf := sha256.New(), make([]byte, fileBytes)
	err = filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		n, err := io.ReadFull(f, buf)
		if err != nil {
			return err
		}
		h.Write(buf[:n])
		if written <= 0 {
			return nil
		}
		written -= int64(n)
		_, err = out.Write(buf[:n])
		return err
	})
	if err == nil {
		err = out.Sync()
	}
	return time.Since(began), err
}
