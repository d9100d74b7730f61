package bucket

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"sync"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"github.com/nave-dev/nave/api"
)

// refs is the last object that is written of a checkpoint: with it the checkpoint is complete.
type refs struct {
	// Sequence orders the checkpoints of a session by when they were saved: each has a higher one than every checkpoint that
	// was complete before it. Two that were saved at once may share one.
	Sequence uint64             `json:"sequence"`
	Manifest int64              `json:"manifest"`            // bytes
	Pack     int64              `json:"pack,omitempty"`      // bytes; 0: it has no pack of its own
	PackHash string             `json:"pack_hash,omitempty"` // SHA-256, hexadecimal
	Packs    []api.CheckpointID `json:"packs,omitempty"`     // the other checkpoints whose packs it needs
}

// refsName is the name of the object; the others are named by their parts.
const refsName = "refs"

// prefix is where the checkpoints of a session lie.
func prefix(org api.OrgID, session api.SessionID) string {
	return "checkpoints/" + url.PathEscape(string(org)) + "/" + url.PathEscape(string(session)) + "/"
}

// objectKey is prefix/<checkpoint>/<pack, manifest or refs>.
func objectKey(prefix string, id api.CheckpointID, name string) string {
	return prefix + string(id) + "/" + name
}

// refs reads the object; nil when there is none.
func (b *Bucket) refs(ctx context.Context, prefix string, id api.CheckpointID) (*refs, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	key := objectKey(prefix, id, refsName)
	text, err := b.b.ReadAll(ctx, key)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeRefs(key, text)
}

// decodeRefs reads the object. One that this package does not write is an error, and not a checkpoint that needs nothing:
// what a checkpoint needs is not collected.
func decodeRefs(key string, text []byte) (*refs, error) {
	r := new(refs)
	err := json.Unmarshal(text, r)
	switch {
	case err != nil:
	case r.Sequence < 1, r.Manifest < 1, r.Pack < 0:
		err = errors.New("it has no sequence or no sizes")
	case r.Pack > 0 && !api.CheckpointID(r.PackHash).Valid(): // both are SHA-256
		err = errors.New("its pack has no hash")
	default:
		for _, id := range r.Packs {
			if !id.Valid() {
				err = errors.New("it needs a pack that has no id")
			}
		}
	}
	if err != nil {
		return nil, api.Errorf(api.CodeInternal, "object %s cannot be read: %w", key, err)
	}
	return r, nil
}

func (b *Bucket) putRefs(ctx context.Context, prefix string, id api.CheckpointID, r *refs) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	key := objectKey(prefix, id, refsName)
	if err := b.b.WriteAll(ctx, key, text, &blob.WriterOptions{ContentType: "application/json"}); err != nil {
		return err
	}
	return b.sync(key)
}

func (b *Bucket) exists(ctx context.Context, key string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return b.b.Exists(ctx, key)
}

// parse splits a key below a prefix into checkpoint and name. It is false for a key that is not of this package's making.
func parse(prefix, key string) (id api.CheckpointID, name string, ok bool) {
	rest, below := strings.CutPrefix(key, prefix)
	text, name, ok := strings.Cut(rest, "/")
	id = api.CheckpointID(text)
	return id, name, ok && below && id.Valid()
}

// saves knows which checkpoints of which sessions are being saved by this process.
type saves struct {
	mu       sync.Mutex
	sessions map[string]*savesOf // by prefix; only those with a save or a collection under way; guarded by mu
}

// savesOf are the saves of one session.
type savesOf struct {
	users int           // guarded by saves.mu
	turn  chan struct{} // one slot: whoever decides what the session's complete checkpoints are

	ids   map[api.CheckpointID]int // being saved, or needed by one that is; guarded by saves.mu
	ended bool                     // everything was removed since the first of the users came; guarded by saves.mu
}

func (s *saves) enter(prefix string, ids ...api.CheckpointID) *savesOf {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.sessions[prefix]
	if of == nil {
		of = &savesOf{turn: make(chan struct{}, 1), ids: map[api.CheckpointID]int{}}
		if s.sessions == nil {
			s.sessions = map[string]*savesOf{}
		}
		s.sessions[prefix] = of
	}
	of.users++
	for _, id := range ids {
		of.ids[id]++
	}
	return of
}

func (s *saves) leave(prefix string, of *savesOf, ids ...api.CheckpointID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if of.ids[id]--; of.ids[id] == 0 {
			delete(of.ids, id)
		}
	}
	if of.users--; of.users == 0 {
		delete(s.sessions, prefix)
	}
}

func (s *saves) busy(of *savesOf, id api.CheckpointID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return of.ids[id] > 0
}

func (s *saves) end(of *savesOf) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of.ended = true
}

func (s *saves) hasEnded(of *savesOf) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return of.ended
}

// take waits for the turn; the caller gives it back.
func (o *savesOf) take(ctx context.Context) error {
	select {
	case o.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (o *savesOf) give() { <-o.turn }
