package checkpoint

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A local pack is a file: a mark, the stored chunks one behind the other, a row for each of them, and an end. It has its name
// only when all of it is durable.
//
//	row: id 32 | offset 8 | stored 4 | plain 4
//	end: number of rows 8 | SHA-256 of the rows 32 | mark 8
const (
	packMark = "navepk01"
	rowBytes = 32 + 8 + 4 + 4
	endBytes = 8 + 32 + 8
	packRoll = 256 << 20 // a local pack takes no more chunks from this length on, so that a long restore is kept in parts
)

// place is where the store has a chunk.
type place struct {
	offset int64
	pack   uint32
	stored uint32
	plain  uint32
}

func packName(seq uint32) string { return fmt.Sprintf("%08x.pack", seq) }

func packSeq(name string) (uint32, bool) {
	digits, ok := strings.CutSuffix(name, ".pack")
	n, err := strconv.ParseUint(digits, 16, 32)
	return uint32(n), ok && err == nil && packName(uint32(n)) == name
}

// packWriter appends chunks to local packs. What it added is in the index at once, unless it is late, and durable after seal.
// It is not for concurrent use.
type packWriter struct {
	s    *Store
	seq  uint32
	f    file
	w    *bufio.Writer
	at   int64
	rows []byte
	late bool // into the index only when they are sealed: they are in it already, elsewhere
}

func (s *Store) newPack() *packWriter { return &packWriter{s: s} }

func (w *packWriter) add(id sum, plain int, stored []byte) error {
	if w.f == nil {
		if err := w.begin(); err != nil {
			return err
		}
	}
	if _, err := w.w.Write(stored); err != nil {
		return fmt.Errorf("write chunk: %w", err)
	}
	p := place{offset: w.at, pack: w.seq, stored: uint32(len(stored)), plain: uint32(plain)}
	w.at += int64(len(stored))
	w.rows = appendRow(w.rows, id, p)
	if !w.late {
		w.s.put(id, p)
	}
	if w.at >= packRoll {
		return w.seal()
	}
	return nil
}

func (w *packWriter) begin() error {
	w.seq = w.s.nextPack()
	f, err := w.s.disk.Create(w.path() + ".new")
	if err != nil {
		return fmt.Errorf("make local pack: %w", err)
	}
	w.f, w.w, w.at, w.rows = f, bufio.NewWriterSize(f, 64<<10), int64(len(packMark)), w.rows[:0]
	_, err = w.w.WriteString(packMark)
	return err
}

func (w *packWriter) path() string { return filepath.Join(w.s.packs, packName(w.seq)) }

// seal makes everything that was added durable.
func (w *packWriter) seal() error {
	if w.f == nil {
		return nil
	}
	end := binary.BigEndian.AppendUint64(nil, uint64(len(w.rows)/rowBytes))
	rowSum := sha256.Sum256(w.rows)
	end = append(append(end, rowSum[:]...), packMark...)
	_, err := w.w.Write(w.rows)
	if err == nil {
		_, err = w.w.Write(end)
	}
	if err == nil {
		err = w.w.Flush()
	}
	if err == nil {
		err = w.f.Sync()
	}
	err = errors.Join(err, w.f.Close())
	if err == nil {
		err = w.s.disk.Rename(w.path()+".new", w.path())
	}
	if err == nil {
		err = w.s.disk.SyncDir(w.s.packs)
	}
	if err != nil {
		w.forget()
		return fmt.Errorf("finish local pack: %w", err)
	}
	w.s.sealed(w.seq, w.at+int64(len(w.rows))+endBytes)
	if w.late {
		for row := w.rows; len(row) > 0; row = row[rowBytes:] {
			w.s.put(sum(row), rowPlace(row, w.seq))
		}
	}
	w.f = nil
	return nil
}

// abort leaves out what was not sealed. It does nothing after a seal.
func (w *packWriter) abort() {
	if w.f != nil {
		w.f.Close()
		w.forget()
	}
}

func (w *packWriter) forget() {
	w.s.disk.Remove(w.path() + ".new") // Open does it otherwise
	for row := w.rows; len(row) > 0; row = row[rowBytes:] {
		w.s.dropIn(sum(row), w.seq)
	}
	w.f = nil
}

func appendRow(b []byte, id sum, p place) []byte {
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(p.offset))
	b = binary.BigEndian.AppendUint32(b, p.stored)
	return binary.BigEndian.AppendUint32(b, p.plain)
}

func rowPlace(row []byte, seq uint32) place {
	return place{pack: seq, offset: int64(binary.BigEndian.Uint64(row[32:])), stored: binary.BigEndian.Uint32(row[40:]), plain: binary.BigEndian.Uint32(row[44:])}
}

// readPack calls add with each chunk of a local pack and returns the length of the file.
func readPack(path string, seq uint32, add func(sum, place)) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	end := make([]byte, endBytes)
	if _, err := f.ReadAt(end, info.Size()-endBytes); err != nil {
		return 0, fmt.Errorf("read its end: %w", err)
	}
	rows := int64(binary.BigEndian.Uint64(end))
	data := info.Size() - endBytes - rows*rowBytes
	if string(end[40:]) != packMark || rows < 0 || rows > info.Size()/rowBytes || data < int64(len(packMark)) {
		return 0, errors.New("its end is damaged")
	}
	digest := sha256.New()
	r := bufio.NewReaderSize(io.TeeReader(io.NewSectionReader(f, data, rows*rowBytes), digest), 64<<10)
	row := make([]byte, rowBytes)
	type entry struct {
		id sum
		p  place
	}
	found := make([]entry, 0, rows)
	for range rows {
		if _, err := io.ReadFull(r, row); err != nil {
			return 0, fmt.Errorf("read its rows: %w", err)
		}
		p := rowPlace(row, seq)
		if p.plain == 0 || p.plain > maxChunk || p.stored == 0 || p.stored > p.plain || p.offset < int64(len(packMark)) || p.offset > data-int64(p.stored) {
			return 0, errors.New("its rows are damaged")
		}
		found = append(found, entry{sum(row), p})
	}
	if !bytes.Equal(digest.Sum(nil), end[8:40]) {
		return 0, errors.New("its rows are damaged")
	}
	for _, e := range found {
		add(e.id, e.p)
	}
	return info.Size(), nil
}
