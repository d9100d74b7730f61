package journal

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/nave-dev/nave/api"
)

const (
	headName  = "head"
	lockName  = "lock"
	maxSpares = 4
)

// head says which generation is the journal. It is one line of JSON and one line with its CRC-32C.
type head struct {
	ID         string `json:"id"`
	Generation uint64 `json:"generation"`
	Segments   int    `json:"segments"` // at the switch to this generation
	End        int64  `json:"end"`      // of the last of them at the switch: frames below it are never torn
}

func readHead(dir string) (head, error) {
	path := filepath.Join(dir, headName)
	b, err := os.ReadFile(path)
	if err != nil {
		return head{}, err
	}
	var h head
	line, sum, _ := strings.Cut(string(b), "\n")
	if sum != headSum(line) || json.Unmarshal([]byte(line), &h) != nil {
		return head{}, damaged(path, 0, "it is not whole")
	}
	if id, err := hex.DecodeString(h.ID); err != nil || len(id) != 16 || h.Generation == 0 || h.Segments < 1 || h.End < headerBytes {
		return head{}, damaged(path, 0, "it names no journal")
	}
	return h, nil
}

func headSum(line string) string {
	return fmt.Sprintf("%08x\n", crc32.Checksum([]byte(line), castagnoli))
}

// writeHead switches to a generation: whoever opens the journal sees the old head or the new one.
func writeHead(dir string, h head) error {
	line, err := json.Marshal(h)
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, headName+".new")
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(string(line) + "\n" + headSum(string(line)))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(dir, headName)); err != nil {
		return err
	}
	return syncDir(dir)
}

func takeLock(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open journal lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, api.Errorf(api.CodeInUse, "open journal: %s is locked by another process: one directory serves one spoke, stop the other or give this one a directory of its own", path)
		}
		return nil, fmt.Errorf("lock journal: %w", err)
	}
	return f, nil
}

// openSegments opens the segments of the head's generation and checks them, each against the next.
func openSegments(dir string, h head) (segments []*segment, err error) {
	defer func() {
		if err != nil {
			for _, s := range segments {
				s.f.Close()
			}
			segments = nil
		}
	}()
	for {
		path := filepath.Join(dir, segmentName(h.Generation, len(segments)))
		s, err := readSegment(path, h.ID, h.Generation, len(segments))
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		if err != nil {
			return segments, err
		}
		segments = append(segments, s)
		if err := s.scan(); err != nil {
			return segments, err
		}
	}
	if len(segments) < h.Segments {
		return segments, damaged(filepath.Join(dir, segmentName(h.Generation, len(segments))), 0, "the segment is missing")
	}
	if n, err := countSegments(dir, h.Generation); err != nil {
		return segments, err
	} else if n != len(segments) {
		return segments, damaged(filepath.Join(dir, segmentName(h.Generation, len(segments))), 0, "the segment is missing and later ones exist")
	}
	for i, s := range segments {
		need := int64(headerBytes) // where whole frames must reach at least
		if i+1 < len(segments) {
			need = segments[i+1].prev
		}
		if i+1 == h.Segments {
			need = max(need, h.End)
		}
		if s.end < need {
			return segments, damaged(s.f.Name(), s.end, "the frame is not whole")
		}
		if i+1 < len(segments) {
			s.end = need // whole frames behind it were never acknowledged
			continue
		}
		if at, err := s.behind(); err != nil {
			return segments, err
		} else if at != 0 {
			return segments, damaged(s.f.Name(), s.end, fmt.Sprintf("the frame is not whole and another follows at offset %d", at))
		}
	}
	return segments, nil
}

func countSegments(dir string, generation uint64) (int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	n := 0
	prefix := fmt.Sprintf("%016x-", generation)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) && strings.HasSuffix(e.Name(), ".seg") {
			n++
		}
	}
	return n, nil
}

// strayRecords names a segment that holds records, whatever its generation.
func strayRecords(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		var generation uint64
		var index int
		if n, err := fmt.Sscanf(e.Name(), "%016x-%08d.seg", &generation, &index); n != 2 || err != nil {
			continue
		}
		b := make([]byte, headerBytes+frameHeaderBytes)
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			return "", err
		}
		_, err = f.ReadAt(b, 0)
		f.Close()
		if err == nil && string(b[36:40]) == string(b[headerBytes:headerBytes+4]) {
			return filepath.Join(dir, e.Name()), nil
		}
	}
	return "", nil
}

// sweep turns the segments of other generations into spares and removes what is too many.
func sweep(dir string, generation uint64, size int64) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	keep := fmt.Sprintf("%016x-", generation)
	spares := 0
	var old []os.DirEntry
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e.Name(), "spare-"):
			spares++
		case strings.HasSuffix(e.Name(), ".seg") && !strings.HasPrefix(e.Name(), keep):
			old = append(old, e)
		}
	}
	for _, e := range old {
		path := filepath.Join(dir, e.Name())
		info, err := e.Info()
		if err != nil {
			return err
		}
		if spares < maxSpares && info.Size() == size {
			spares++
			err = os.Rename(path, filepath.Join(dir, "spare-"+strings.TrimSuffix(e.Name(), ".seg")))
		} else {
			err = os.Remove(path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// takeSpare returns the path of a spare of this size, or of a file that does not exist yet.
func takeSpare(dir string, size int64) (string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "spare-*"))
	if err != nil {
		return "", err
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return "", err
		}
		if info.Size() == size {
			return name, nil
		}
		if err := os.Remove(name); err != nil { // of another configuration
			return "", err
		}
	}
	return filepath.Join(dir, "spare-new"), nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
