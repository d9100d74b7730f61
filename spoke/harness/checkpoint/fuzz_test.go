package checkpoint

import (
	"crypto/sha256"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// FuzzPack: a local pack that is read names chunks that lie within it, and no more rows than fit; else it is an error. With
// mend the rows are given their digest and their count, so that they are looked at.
func FuzzPack(f *testing.F) {
	s := open1(f, f.TempDir())
	p := s.newPack()
	if err := p.add(sha256.Sum256(evil), len(evil), evil); err != nil {
		f.Fatal(err)
	}
	if err := p.seal(); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(p.path())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole, false)
	f.Add(whole[:len(whole)-1], false)
	f.Add(whole[:endBytes-1], false)
	f.Add([]byte{}, false)
	rows := make([]byte, rowBytes)
	for _, at := range []place{{offset: 8, stored: 3, plain: 3}, {offset: 1<<63 - 2, stored: 3, plain: 3}, {offset: 8, stored: 1 << 31, plain: 1<<32 - 1}, {offset: -1, stored: 1, plain: 1}} {
		f.Add(append([]byte(packMark+"content"), appendRow(nil, [32]byte{1}, at)...), true)
	}
	f.Add(append([]byte(packMark), rows...), true)
	count := make([]byte, endBytes)
	for _, n := range []uint64{1 << 63, 1<<64 - 1, (1<<64-1)/rowBytes + 1, 1 << 40} {
		binary.BigEndian.PutUint64(count, n)
		f.Add(append(append([]byte(packMark), count[:endBytes-len(packMark)]...), packMark...), false)
	}
	path := filepath.Join(f.TempDir(), "pack")
	f.Fuzz(func(t *testing.T, b []byte, mend bool) {
		if mend && len(b) > len(packMark) {
			n := (len(b) - len(packMark)) / rowBytes
			tail := b[len(b)-n*rowBytes:]
			sum := sha256.Sum256(tail)
			b = binary.BigEndian.AppendUint64(slices.Clone(b), uint64(n))
			b = append(append(b, sum[:]...), packMark...)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		found := 0
		size, err := readPack(path, 7, func(_ sum, p place) {
			found++
			if p.pack != 7 || p.offset < int64(len(packMark)) || int64(p.stored) > int64(len(b)) || p.offset > int64(len(b))-int64(p.stored) || p.plain == 0 || p.plain > maxChunk {
				t.Errorf("a chunk at %+v of a file of %d bytes", p, len(b))
			}
		})
		if err != nil && found > 0 || err == nil && size != int64(len(b)) || found > len(b)/rowBytes {
			t.Errorf("%d chunks, %d of %d bytes, %v", found, size, len(b), err)
		}
	})
}

// FuzzMarker: a marker is believed as a whole, of this start of the machine, or not at all.
func FuzzMarker(f *testing.F) {
	s := open1(f, f.TempDir())
	id := idOf([]byte("x"))
	if err := s.SetMarker("s", id); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(s.markerPath())
	if err != nil {
		f.Fatal(err)
	}
	if m, ok := s.Marker(); !ok || m.Checkpoint != id || m.Session != "s" {
		f.Fatalf("the marker is %+v, %v", m, ok)
	}
	f.Add(good)
	f.Add(good[:len(good)-3])
	for _, text := range []string{"", "null", "{}", `{"boot":""}`, strings.ReplaceAll(string(good), string(id), strings.ToUpper(string(id)))} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(s.markerPath(), b, 0o600); err != nil {
			t.Fatal(err)
		}
		m, ok := s.Marker()
		if ok != (m != Marker{}) || ok && (!m.Checkpoint.Valid() || m.Boot != bootID()) {
			t.Errorf("believed: %+v", m)
		}
	})
}
