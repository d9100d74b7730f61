package api

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Distinct types, so that the compiler refuses one id for another.
type (
	OrgID     string // id of an organization; the first one's id is its name, "default"
	ObjectID  string // id of a definition (ULID)
	ClusterID string // id of a cluster (ULID)
	SessionID string // id of a session (ULID that carries its shard, see NewSessionID)
	SignalID  string // id of a signal (ULID)
)

// DefaultOrg is the organization that every installation begins with.
const DefaultOrg OrgID = "default"

// Shards is the number of shards. It is part of the stored format and never changes.
const Shards = 256

// Shard is a slice of the sessions, 0 to Shards-1.
type Shard uint8

// ShardFor is the shard of a session: the first byte of SHA-256 over (organization, agent id, key), each preceded by its
// length as four bytes, big-endian.
func ShardFor(org OrgID, agent ObjectID, key string) Shard {
	h := sha256.New()
	for _, s := range []string{string(org), string(agent), key} {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	return Shard(h.Sum(nil)[0])
}

// crockford is the alphabet of ULIDs (github.com/ulid/spec).
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// NewULID encodes 48 bits of milliseconds and 80 bits of entropy as 26 characters that sort by time.
func NewULID(at time.Time, entropy [10]byte) string {
	var b [16]byte
	ms := uint64(at.UnixMilli())
	for i := range 6 {
		b[i] = byte(ms >> (40 - 8*i))
	}
	copy(b[6:], entropy[:])
	hi, lo := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	var out [26]byte
	for i := 25; i >= 0; i-- {
		out[i] = crockford[lo&31]
		lo = lo>>5 | hi<<59
		hi >>= 5
	}
	return string(out[:])
}

// ParseULID returns the 16 bytes of a ULID in its canonical, upper-case form.
func ParseULID(s string) ([16]byte, error) {
	var b [16]byte
	if len(s) != 26 || s[0] > '7' {
		return b, fmt.Errorf("%.80q is not an id: want 26 characters of Crockford's base 32", s)
	}
	var hi, lo uint64
	for i := range len(s) {
		v := strings.IndexByte(crockford, s[i])
		if v < 0 {
			return b, fmt.Errorf("%.80q is not an id: character %q is not in Crockford's base 32", s, s[i])
		}
		hi = hi<<5 | lo>>59
		lo = lo<<5 | uint64(v)
	}
	binary.BigEndian.PutUint64(b[:8], hi)
	binary.BigEndian.PutUint64(b[8:], lo)
	return b, nil
}

// NewSessionID makes a session's id: a ULID whose first byte of entropy is the shard.
func NewSessionID(at time.Time, shard Shard, entropy [10]byte) SessionID {
	entropy[0] = byte(shard)
	return SessionID(NewULID(at, entropy))
}

// Shard returns the shard that the id carries.
func (id SessionID) Shard() (Shard, error) {
	b, err := ParseULID(string(id))
	return Shard(b[6]), err
}

// Epoch counts the assignments of one session. The zero value is "never assigned".
type Epoch struct {
	Incarnation uint32 // raised when the store is restored from a backup
	N           uint64 // 1 for the first assignment
}

// Compare orders epochs: the incarnation first.
func (e Epoch) Compare(o Epoch) int {
	return cmp.Or(cmp.Compare(e.Incarnation, o.Incarnation), cmp.Compare(e.N, o.N))
}

// IsZero reports whether no assignment was ever made.
func (e Epoch) IsZero() bool { return e == Epoch{} }

// Next is the epoch after e in the given incarnation.
func (e Epoch) Next(incarnation uint32) Epoch { return Epoch{incarnation, e.N + 1} }

// String renders "incarnation.n".
func (e Epoch) String() string { return fmt.Sprintf("%d.%d", e.Incarnation, e.N) }

// Generation counts the owners of one shard.
type Generation struct {
	Incarnation uint32
	N           uint64
}

// Compare orders generations: the incarnation first.
func (g Generation) Compare(o Generation) int {
	return cmp.Or(cmp.Compare(g.Incarnation, o.Incarnation), cmp.Compare(g.N, o.N))
}

// String renders "incarnation.n".
func (g Generation) String() string { return fmt.Sprintf("%d.%d", g.Incarnation, g.N) }

// Head is what a shard's owner compares and advances with every batch.
type Head struct {
	Generation Generation
	Batch      uint64
}

// Position is how far a message about a shard reaches. A reader ignores what is lower than what it has seen.
type Position struct {
	Shard Shard
	Head  Head
}

// Compare orders heads: generation, then batch.
func (h Head) Compare(o Head) int {
	return cmp.Or(h.Generation.Compare(o.Generation), cmp.Compare(h.Batch, o.Batch))
}

// Source is who numbered an event densely: one attempt of one epoch, or the hub itself (the zero value).
type Source struct {
	Epoch   Epoch
	Attempt uint32 // 1 for the first attempt of the epoch; 0 for the hub
}

// HubSource is the source of the hub's own events.
var HubSource = Source{}

// String renders "hub" or "incarnation.epoch/attempt".
func (s Source) String() string {
	if s == HubSource {
		return "hub"
	}
	return s.Epoch.String() + "/" + strconv.FormatUint(uint64(s.Attempt), 10)
}

// ParseSource is the inverse of [Source.String].
func ParseSource(s string) (Source, error) {
	if s == "hub" {
		return HubSource, nil
	}
	var src Source
	if n, err := fmt.Sscanf(s, "%d.%d/%d", &src.Epoch.Incarnation, &src.Epoch.N, &src.Attempt); n != 3 || err != nil || src.String() != s {
		return Source{}, fmt.Errorf("%.80q is not a source: want hub or incarnation.epoch/attempt", s)
	}
	return src, nil
}
