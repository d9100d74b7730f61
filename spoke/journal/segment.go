package journal

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/nave-dev/nave/api"
)

// Layout of a segment, little-endian:
//
//	 0  8  magic
//	 8 16  id of the journal
//	24  8  generation
//	32  4  index in the generation
//	36  4  mark of its frames
//	40  8  end of the segment before it, 0 for the first
//	48 12  zero
//	60  4  CRC-32C of the 60 bytes before
//	64     frames: mark (4), length of the payload (4), CRC-32C of offset, length and payload seeded with the header's (4),
//	       payload: for each record its length as a uvarint, and the record
const (
	headerBytes      = 64
	frameHeaderBytes = 12
)

var (
	segmentMagic = []byte("NAVEJRN1")
	castagnoli   = crc32.MakeTable(crc32.Castagnoli)
	errNoSpace   = errors.New("no space left on the device")
)

// segment is one open segment file.
type segment struct {
	f    *os.File
	size int64  // bytes that the file is allocated for
	end  int64  // behind the last whole frame
	mark uint32 // of its frames
	seed uint32 // CRC of the header
	prev int64  // end of the segment before it
}

func segmentName(generation uint64, index int) string {
	return fmt.Sprintf("%016x-%08d.seg", generation, index)
}

// createSegment makes a durable, empty segment: allocated or recycled, header written and synced, then renamed to its name.
func createSegment(dir string, h head, index int, prev, size int64) (*segment, error) {
	id, err := hex.DecodeString(h.ID)
	if err != nil || len(id) != 16 {
		return nil, fmt.Errorf("journal id %q is not 16 bytes in hexadecimal", h.ID)
	}
	path := filepath.Join(dir, segmentName(h.Generation, index))
	tmp, err := takeSpare(dir, size)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	s := &segment{f: f, size: size, end: headerBytes, prev: prev}
	if err := s.initialize(id, h.Generation, index); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := syncDir(dir); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	f.Close()
	if s.f, err = os.OpenFile(path, os.O_RDWR, 0); err != nil { // again, so that errors carry the name
		return nil, err
	}
	return s, nil
}

func (s *segment) initialize(id []byte, generation uint64, index int) error {
	if err := allocate(s.f, s.size); err != nil {
		if errors.Is(err, syscall.ENOSPC) {
			return errNoSpace
		}
		return err
	}
	var b [headerBytes]byte
	copy(b[0:], segmentMagic)
	copy(b[8:], id)
	binary.LittleEndian.PutUint64(b[24:], generation)
	binary.LittleEndian.PutUint32(b[32:], uint32(index))
	if _, err := rand.Read(b[36:40]); err != nil {
		return err
	}
	b[36] |= 1 // never zero: the bytes of an allocated file are
	binary.LittleEndian.PutUint64(b[40:], uint64(s.prev))
	s.mark = binary.LittleEndian.Uint32(b[36:])
	s.seed = crc32.Checksum(b[:60], castagnoli)
	binary.LittleEndian.PutUint32(b[60:], s.seed)
	if _, err := s.f.WriteAt(b[:], 0); err != nil {
		return err
	}
	return s.f.Sync()
}

// readSegment opens a segment and checks its header.
func readSegment(path, id string, generation uint64, index int) (*segment, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	s := &segment{f: f, end: headerBytes}
	if err := s.readHeader(id, generation, index); err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

func (s *segment) readHeader(id string, generation uint64, index int) error {
	info, err := s.f.Stat()
	if err != nil {
		return err
	}
	s.size = info.Size()
	var b [headerBytes]byte
	if _, err := s.f.ReadAt(b[:], 0); err != nil && err != io.EOF {
		return err
	}
	s.mark = binary.LittleEndian.Uint32(b[36:])
	s.seed = crc32.Checksum(b[:60], castagnoli)
	s.prev = int64(binary.LittleEndian.Uint64(b[40:]))
	if !bytes.Equal(b[:8], segmentMagic) || binary.LittleEndian.Uint32(b[60:]) != s.seed {
		return damaged(s.f.Name(), 0, "the header is not whole")
	}
	if hex.EncodeToString(b[8:24]) != id || binary.LittleEndian.Uint64(b[24:]) != generation || binary.LittleEndian.Uint32(b[32:]) != uint32(index) {
		return damaged(s.f.Name(), 0, "the header belongs to another journal or another place")
	}
	return nil
}

func damaged(file string, offset int64, what string) error {
	return api.Errorf(api.CodeFailed, "journal is damaged: %s at offset %d: %s; bring the file back, or move the journal away to begin without memory", file, offset, what)
}

// errFrame means that no whole frame begins at an offset.
var errFrame = errors.New("no whole frame")

// frame reads the payload of the frame at an offset, below a limit, and returns where the next one begins.
func (s *segment) frame(off, limit int64) ([]byte, int64, error) {
	var h [frameHeaderBytes]byte
	if off+frameHeaderBytes > limit {
		return nil, 0, errFrame
	}
	if _, err := s.f.ReadAt(h[:], off); err != nil {
		return nil, 0, err
	}
	n := int64(binary.LittleEndian.Uint32(h[4:]))
	if binary.LittleEndian.Uint32(h[0:]) != s.mark || n == 0 || off+frameHeaderBytes+n > limit {
		return nil, 0, errFrame
	}
	payload := make([]byte, n)
	if _, err := s.f.ReadAt(payload, off+frameHeaderBytes); err != nil {
		return nil, 0, err
	}
	if s.checksum(off, h[4:8], payload) != binary.LittleEndian.Uint32(h[8:]) {
		return nil, 0, errFrame
	}
	return payload, off + frameHeaderBytes + n, nil
}

func (s *segment) checksum(off int64, length, payload []byte) uint32 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(off))
	c := crc32.Update(s.seed, castagnoli, b[:])
	c = crc32.Update(c, castagnoli, length)
	return crc32.Update(c, castagnoli, payload)
}

// scan finds the end of the whole frames.
func (s *segment) scan() error {
	for {
		_, next, err := s.frame(s.end, s.size)
		if errors.Is(err, errFrame) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read journal: %w", err)
		}
		s.end = next
	}
}

// behind looks for a whole frame behind the end of the whole frames, and returns its offset, or 0.
func (s *segment) behind() (int64, error) {
	var mark [4]byte
	binary.LittleEndian.PutUint32(mark[:], s.mark)
	const chunk = 1 << 20
	buf := make([]byte, chunk+len(mark)-1)
	for off := s.end + 1; off < s.size; off += chunk {
		n, err := s.f.ReadAt(buf, off)
		if err != nil && err != io.EOF {
			return 0, fmt.Errorf("read journal: %w", err)
		}
		for at := 0; ; at++ {
			i := bytes.Index(buf[at:n], mark[:])
			if i < 0 {
				break
			}
			at += i
			if _, _, err := s.frame(off+int64(at), s.size); err == nil {
				return off + int64(at), nil
			}
		}
	}
	return 0, nil
}

// frameBytes is the length of the frame of these records.
func frameBytes(records [][]byte) int64 {
	n := int64(frameHeaderBytes)
	var b [binary.MaxVarintLen64]byte
	for _, r := range records {
		n += int64(binary.PutUvarint(b[:], uint64(len(r))) + len(r))
	}
	return n
}

// appendFrame appends the frame of these records, as it is at an offset of this segment.
func (s *segment) appendFrame(b []byte, off int64, records [][]byte) []byte {
	start := len(b)
	b = append(b, make([]byte, frameHeaderBytes)...)
	for _, r := range records {
		b = binary.AppendUvarint(b, uint64(len(r)))
		b = append(b, r...)
	}
	f := b[start:]
	binary.LittleEndian.PutUint32(f[0:], s.mark)
	binary.LittleEndian.PutUint32(f[4:], uint32(len(f)-frameHeaderBytes))
	binary.LittleEndian.PutUint32(f[8:], s.checksum(off, f[4:8], f[frameHeaderBytes:]))
	return b
}

func (s *segment) write(frame []byte) error {
	_, err := s.f.WriteAt(frame, s.end)
	return err
}
