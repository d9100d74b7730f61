package journal

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/nave-dev/nave/api"
)

// fuzzBytes is the size of a segment in these tests.
const fuzzBytes = 4 << 10

// FuzzSegment: whatever stands behind the header of a segment, the journal opens with the whole frames before it, or says
// that it is damaged; it invents no record, and goes on from what it has. With mend the first frame is made whole again, so
// that what it holds is looked at.
func FuzzSegment(f *testing.F) {
	dir := f.TempDir()
	j, err := Open(Config{Dir: dir, SegmentBytes: fuzzBytes})
	if err != nil {
		f.Fatal(err)
	}
	for _, batch := range [][][]byte{{[]byte("a"), {}, []byte("bcd")}, {bytes.Repeat([]byte("x"), 300)}} {
		if err := j.Append(batch); err != nil {
			f.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		f.Fatal(err)
	}
	name := segmentName(1, 0)
	whole, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		f.Fatal(err)
	}
	head, err := os.ReadFile(filepath.Join(dir, headName))
	if err != nil {
		f.Fatal(err)
	}
	body := bytes.TrimRight(whole[headerBytes:], "\x00")
	f.Add(body, false)
	f.Add(body[:len(body)-1], false)
	f.Add(body[:frameHeaderBytes-1], false)
	f.Add([]byte{}, false)
	f.Add(append(slices.Clone(body), body...), false)
	for _, payload := range [][]byte{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, {0x80}, {5, 1}, {0}} {
		f.Add(append(make([]byte, frameHeaderBytes), payload...), true)
	}
	var s segment
	s.mark, s.seed = binary.LittleEndian.Uint32(whole[36:]), crc32.Checksum(whole[:60], castagnoli)
	dir = f.TempDir() // used again: a journal that is made anew for every input costs more than it reads
	cfg := Config{Dir: dir, SegmentBytes: fuzzBytes}
	f.Fuzz(func(t *testing.T, body []byte, mend bool) {
		if len(body) > fuzzBytes-headerBytes {
			return
		}
		if mend && len(body) > frameHeaderBytes {
			body = slices.Clone(body)
			binary.LittleEndian.PutUint32(body, s.mark)
			binary.LittleEndian.PutUint32(body[4:], uint32(len(body)-frameHeaderBytes))
			binary.LittleEndian.PutUint32(body[8:], s.checksum(headerBytes, body[4:8], body[frameHeaderBytes:]))
		}
		file := make([]byte, fuzzBytes)
		copy(file, whole[:headerBytes])
		copy(file[headerBytes:], body)
		for name, b := range map[string][]byte{headName: head, name: file} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		read := func() (got [][]byte, j *Journal, err error) {
			if j, err = Open(cfg); err != nil {
				return nil, nil, err
			}
			total := 0
			err = j.Replay(func(r []byte) error {
				got, total = append(got, r), total+len(r)
				return nil
			})
			if total > len(body)+len("next") {
				t.Errorf("%d bytes of records out of %d", total, len(body))
			}
			return got, j, err
		}
		first, j, err := read()
		if j == nil || err != nil {
			if api.CodeOf(err) != api.CodeFailed {
				t.Fatalf("refused as %s: %v", api.CodeOf(err), err)
			}
			if j != nil {
				j.Close()
			}
			return
		}
		if err := j.Append([][]byte{[]byte("next")}); err != nil {
			t.Fatal(err)
		}
		j.Close()
		second, j, err := read()
		if err != nil {
			t.Fatalf("after an append: %v", err)
		}
		j.Close()
		if want := append(first, []byte("next")); !slices.EqualFunc(second, want, bytes.Equal) {
			t.Fatalf("%d records became %d", len(want), len(second))
		}
		segments, err := filepath.Glob(filepath.Join(dir, "*-00000001.seg"))
		for _, s := range segments {
			if err := os.Remove(s); err != nil {
				t.Fatal(err)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzHead: a head file, and a header of a segment, are taken as they were written or called damaged. With mend the
// checksums are made right, so that the fields are looked at.
func FuzzHead(f *testing.F) {
	line := `{"id":"000102030405060708090a0b0c0d0e0f","generation":1,"segments":1,"end":64}`
	f.Add([]byte(line+"\n"+headSum(line)), []byte{}, false)
	for _, l := range []string{line, `{}`, `null`, `{"segments":-1,"end":-1,"generation":18446744073709551615}`, `{"id":"zz","generation":1,"segments":1000000000,"end":9223372036854775807}`} {
		f.Add([]byte(l), make([]byte, headerBytes), true)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, head, header []byte, mend bool) {
		if mend {
			if bytes.ContainsRune(head, '\n') {
				return
			}
			head = append(append(slices.Clone(head), '\n'), headSum(string(head))...)
			if len(header) >= headerBytes {
				header = slices.Clone(header)
				binary.LittleEndian.PutUint32(header[60:], crc32.Checksum(header[:60], castagnoli))
			}
		}
		for name, b := range map[string][]byte{headName: head, segmentName(1, 0): header} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		j, err := Open(Config{Dir: dir, SegmentBytes: fuzzBytes})
		if err != nil {
			if api.CodeOf(err) != api.CodeFailed {
				t.Fatalf("refused as %s: %v", api.CodeOf(err), err)
			}
			return
		}
		defer j.Close()
		if err := j.Replay(func([]byte) error { return nil }); err != nil {
			return
		}
		if err := j.Append([][]byte{[]byte("next")}); err != nil && api.CodeOf(err) != api.CodeLimit {
			t.Fatalf("taken, and then: %v", err)
		}
	})
}
