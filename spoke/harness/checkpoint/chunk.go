package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
	"github.com/restic/chunker"
)

// Bounds of a chunk's plain content. They, averageBits and polynomial are part of what makes two checkpoints share chunks: another
// value is no error, but everything is stored once more.
const (
	minChunk    = 64 << 10
	maxChunk    = 1 << 20
	averageBits = 18 // a boundary is found 2^18 bytes after the least size, on average
	polynomial  = chunker.Pol(0x3DA3358B4DC173)
)

// sum names a chunk: the SHA-256 of its plain content.
type sum [sha256.Size]byte

// String returns the first digits, enough to find a chunk by.
func (s sum) String() string { return hex.EncodeToString(s[:8]) }

// encoder makes the stored form of chunks. It belongs to one goroutine.
type encoder struct {
	z   *zstd.Encoder
	buf []byte
}

func newEncoder() (*encoder, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(maxChunk),
		zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false), zstd.WithAllLitEntropyCompression(true)) // halves what is text of digits
	if err != nil {
		return nil, fmt.Errorf("make compressor: %w", err)
	}
	return &encoder{z: z}, nil
}

// encode returns what is stored for a chunk: a Zstandard frame, or the content itself when that is not longer. It is valid
// until the next call.
func (e *encoder) encode(plain []byte) []byte {
	e.buf = e.z.EncodeAll(plain, e.buf[:0])
	if len(e.buf) >= len(plain) {
		return plain
	}
	return e.buf
}

// decoder turns the stored form back and verifies it. It belongs to one goroutine.
type decoder struct {
	z   *zstd.Decoder
	buf []byte
}

func newDecoder() (*decoder, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxChunk),
		zstd.WithDecodeAllCapLimit(true), zstd.IgnoreChecksum(true))
	if err != nil {
		return nil, fmt.Errorf("make decompressor: %w", err)
	}
	return &decoder{z: z}, nil
}

func (d *decoder) close() { d.z.Close() }

// errDamaged: a chunk is not what its name says.
var errDamaged = errors.New("its content is not what its name says")

// decode returns the plain content, which is verified and valid until the next call.
func (d *decoder) decode(id sum, plain int, stored []byte) ([]byte, error) {
	content := stored
	if len(stored) != plain {
		if cap(d.buf) < maxChunk {
			d.buf = make([]byte, 0, maxChunk)
		}
		var err error
		content, err = d.z.DecodeAll(stored, d.buf[:0:plain]) // never more than plain bytes
		if err != nil {
			return nil, fmt.Errorf("%w: %v", errDamaged, err)
		}
	}
	if len(content) != plain || sha256.Sum256(content) != id {
		return nil, errDamaged
	}
	return content, nil
}
