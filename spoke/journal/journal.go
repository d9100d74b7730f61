package journal

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/nave-dev/nave/api"
)

// Defaults of [Config].
const (
	DefaultMaxBytes     = 1 << 30
	DefaultSegmentBytes = 16 << 20
)

// Config says where the journal is and how large it may grow.
type Config struct {
	Dir          string // directory of its own; made when it is missing
	MaxBytes     int64  // bytes of all frames; beyond it Append answers CodeLimit; default 1 GiB
	SegmentBytes int64  // size of a segment file, at least 4 KiB; default 16 MiB
}

func (c *Config) validate() error {
	if c.Dir == "" {
		return api.Invalid("journal.dir", "is empty: name a directory")
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = DefaultMaxBytes
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = DefaultSegmentBytes
	}
	if c.SegmentBytes < 4<<10 || c.SegmentBytes > 1<<30 {
		return api.Invalid("journal.segment_bytes", "%d: want 4 KiB to 1 GiB", c.SegmentBytes)
	}
	if c.MaxBytes < 4<<10 {
		return api.Invalid("journal.max_bytes", "%d: want at least 4 KiB", c.MaxBytes)
	}
	return nil
}

// Journal is an open journal. It is safe for concurrent use.
type Journal struct {
	cfg  Config
	lock *os.File

	mu       sync.Mutex
	head     head
	segments []*segment // of the present generation; the last one is written to
	size     int64      // bytes of the frames of all segments
	appended bool       // Replay is over
	broken   error      // set once, by a failed write or sync
	buf      []byte     // of the last frame, used again
}

// Open opens or makes the journal of a directory. CodeInUse when another process has it open; CodeFailed when it is
// damaged.
func Open(cfg Config) (*Journal, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make journal directory: %w", err)
	}
	lock, err := takeLock(cfg.Dir)
	if err != nil {
		return nil, err
	}
	j := &Journal{cfg: cfg, lock: lock}
	if err := j.load(); err != nil {
		j.closeFiles()
		return nil, err
	}
	return j, nil
}

// load reads the head, or makes a first one, and opens the segments of its generation.
func (j *Journal) load() error {
	h, err := readHead(j.cfg.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return j.begin()
	}
	if err != nil {
		return err
	}
	j.head = h
	if j.segments, err = openSegments(j.cfg.Dir, h); err != nil {
		return err
	}
	for _, s := range j.segments {
		j.size += s.end - headerBytes
	}
	last := j.segments[len(j.segments)-1]
	if last.size < j.cfg.SegmentBytes { // made with another size
		if err := allocate(last.f, j.cfg.SegmentBytes); err != nil {
			return fmt.Errorf("allocate journal segment: %w", err)
		}
		last.size = j.cfg.SegmentBytes
	}
	return sweep(j.cfg.Dir, h.Generation, j.cfg.SegmentBytes)
}

// begin makes an empty journal. A head that is missing beside segments with records was removed by somebody: to begin anew
// would forget them in silence.
func (j *Journal) begin() error {
	if name, err := strayRecords(j.cfg.Dir); err != nil {
		return err
	} else if name != "" {
		return api.Errorf(api.CodeFailed, "open journal: %s holds records and there is no head file: bring the head back, or move the directory away to begin without memory", name)
	}
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return fmt.Errorf("make journal id: %w", err)
	}
	if err := sweep(j.cfg.Dir, 0, j.cfg.SegmentBytes); err != nil {
		return err
	}
	h := head{ID: hex.EncodeToString(id[:]), Generation: 1, Segments: 1, End: headerBytes}
	s, err := createSegment(j.cfg.Dir, h, 0, 0, j.cfg.SegmentBytes)
	if err != nil {
		return err
	}
	j.head, j.segments = h, []*segment{s}
	return writeHead(j.cfg.Dir, h)
}

// Append makes records durable, in order, all or none. CodeLimit, with nothing written, when the journal or the disk is full.
func (j *Journal) Append(records [][]byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken != nil {
		return j.broken
	}
	j.appended = true
	if len(records) == 0 {
		return nil
	}
	n := frameBytes(records)
	if j.size+n > j.cfg.MaxBytes {
		return api.Errorf(api.CodeLimit, "append to journal: %d bytes and %d more exceed the limit of %d (max_bytes)", j.size, n, j.cfg.MaxBytes)
	}
	s, err := j.room(n)
	if err != nil {
		return err
	}
	j.buf = s.appendFrame(j.buf[:0], s.end, records)
	if err := s.write(j.buf); err != nil {
		return j.fail("append to journal", err)
	}
	if err := syncData(s.f); err != nil {
		return j.fail("sync journal", err)
	}
	if cap(j.buf) > 1<<20 {
		j.buf = nil // one large batch must not be held for ever
	}
	s.end += n
	s.size = max(s.size, s.end)
	j.size += n
	return nil
}

// room returns a segment with place for a frame of n bytes.
func (j *Journal) room(n int64) (*segment, error) {
	last := j.segments[len(j.segments)-1]
	if last.end+n <= last.size || last.end == headerBytes {
		return last, nil
	}
	s, err := createSegment(j.cfg.Dir, j.head, len(j.segments), last.end, max(j.cfg.SegmentBytes, headerBytes+n))
	if errors.Is(err, errNoSpace) {
		return nil, api.Errorf(api.CodeLimit, "append to journal: %w", err)
	}
	if err != nil {
		return nil, j.fail("begin journal segment", err)
	}
	j.segments = append(j.segments, s)
	return s, nil
}

// Replay calls f for every record since the last Compact, in order. Only before the first Append. The record belongs to f.
func (j *Journal) Replay(f func(record []byte) error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.appended {
		return api.Errorf(api.CodeFailed, "replay journal: records were appended already: replay first")
	}
	for _, s := range j.segments {
		for off := int64(headerBytes); off < s.end; {
			payload, next, err := s.frame(off, s.end)
			if err != nil {
				return err
			}
			off = next
			for len(payload) > 0 {
				n, w := binary.Uvarint(payload)
				if w <= 0 || n > uint64(len(payload)-w) {
					return api.Errorf(api.CodeFailed, "replay journal: %s: a frame that ends at offset %d holds a wrong record length", s.f.Name(), off)
				}
				if err := f(payload[w : w+int(n) : w+int(n)]); err != nil {
					return err
				}
				payload = payload[w+int(n):]
			}
		}
	}
	return nil
}

// Size is the bytes of the frames since the last Compact, those of Compact included.
func (j *Journal) Size() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.size
}

// ID is random per journal; a new one means that memory was lost.
func (j *Journal) ID() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.head.ID
}

// Close closes the files and gives the directory free.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken == nil {
		j.broken = api.Errorf(api.CodeFailed, "journal is closed")
	}
	return j.closeFiles()
}

func (j *Journal) closeFiles() error {
	var errs []error
	for _, s := range j.segments {
		errs = append(errs, s.f.Close())
	}
	j.segments = nil
	if j.lock != nil {
		errs = append(errs, j.lock.Close()) // closing gives the lock free
		j.lock = nil
	}
	return errors.Join(errs...)
}

// fail makes the journal refuse everything from now on.
func (j *Journal) fail(op string, err error) error {
	j.broken = fmt.Errorf("%s: %w (the journal takes no more until it is opened again)", op, err)
	return j.broken
}
