package journal

import (
	"errors"
	"os"

	"github.com/nave-dev/nave/api"
)

// compactFrame is the payload that Compact puts into one frame. The switch makes all frames appear at once, so that they
// need not be one.
const compactFrame = 1 << 20

// Compact replaces everything appended so far by these records, atomically. An error before the switch leaves the journal
// as it was.
func (j *Journal) Compact(records [][]byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken != nil {
		return j.broken
	}
	j.appended = true
	frames := split(records)
	var size int64
	for _, f := range frames {
		size += frameBytes(f)
	}
	if size > j.cfg.MaxBytes {
		return api.Errorf(api.CodeLimit, "compact journal: %d bytes exceed the limit of %d (max_bytes)", size, j.cfg.MaxBytes)
	}
	next := head{ID: j.head.ID, Generation: j.head.Generation + 1}
	segments, err := writeGeneration(j.cfg, next, frames)
	if err != nil {
		for _, s := range segments {
			err = errors.Join(err, s.f.Close(), os.Remove(s.f.Name()))
		}
		if errors.Is(err, errNoSpace) {
			return api.Errorf(api.CodeLimit, "compact journal: %w", err)
		}
		return err
	}
	next.Segments, next.End = len(segments), segments[len(segments)-1].end
	if err := writeHead(j.cfg.Dir, next); err != nil {
		return j.fail("switch journal generation", errors.Join(err, closeAll(segments)))
	}
	old := j.segments
	j.head, j.segments, j.size = next, segments, size
	if err := errors.Join(closeAll(old), sweep(j.cfg.Dir, next.Generation, j.cfg.SegmentBytes)); err != nil {
		return j.fail("clear old journal generation", err)
	}
	return nil
}

// writeGeneration writes and syncs the segments of a generation that is not the journal yet.
func writeGeneration(cfg Config, h head, frames [][][]byte) ([]*segment, error) {
	if err := sweep(cfg.Dir, h.Generation-1, cfg.SegmentBytes); err != nil { // what an attempt that failed left behind
		return nil, err
	}
	s, err := createSegment(cfg.Dir, h, 0, 0, cfg.SegmentBytes)
	if err != nil {
		return nil, err
	}
	segments := []*segment{s}
	var buf []byte
	for _, records := range frames {
		n := frameBytes(records)
		if s.end+n > s.size && s.end > headerBytes {
			if err := s.f.Sync(); err != nil {
				return segments, err
			}
			if s, err = createSegment(cfg.Dir, h, len(segments), s.end, max(cfg.SegmentBytes, headerBytes+n)); err != nil {
				return segments, err
			}
			segments = append(segments, s)
		}
		buf = s.appendFrame(buf[:0], s.end, records)
		if err := s.write(buf); err != nil {
			return segments, err
		}
		s.end += n
		s.size = max(s.size, s.end)
	}
	return segments, s.f.Sync()
}

// split puts the records into groups of about compactFrame.
func split(records [][]byte) [][][]byte {
	var frames [][][]byte
	start, n := 0, 0
	for i, r := range records {
		if n > 0 && n+len(r) > compactFrame {
			frames = append(frames, records[start:i])
			start, n = i, 0
		}
		n += len(r) + 1 // an empty record takes room too
	}
	if start < len(records) {
		frames = append(frames, records[start:])
	}
	return frames
}

func closeAll(segments []*segment) error {
	var errs []error
	for _, s := range segments {
		errs = append(errs, s.f.Close())
	}
	return errors.Join(errs...)
}
