package bucket

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"github.com/nave-dev/nave/api"
)

// MaxPacks bounds the packs of others that a checkpoint may need: each is looked at before it is complete.
const MaxPacks = 1024

// SaveCheckpoint implements hub.Vault. It reads no faster than content delivers; the caller bounds that by its context.
func (b *Bucket) SaveCheckpoint(ctx context.Context, org api.OrgID, h api.CheckpointHeader, content io.Reader) error {
	const op = "save checkpoint"
	if err := validate(org, h); err != nil {
		err.Op = op
		return err
	}
	p := prefix(org, h.Session)
	ids := append([]api.CheckpointID{h.ID}, h.Packs...) // neither they nor their packs are collected meanwhile
	of := b.saves.enter(p, ids...)
	defer b.saves.leave(p, of, ids...)
	err := b.save(ctx, op, p, of, h, content)
	if err != nil && b.saves.hasEnded(of) {
		b.discard(ctx, p, h.ID)
		return refuse(op, api.CodeFailed, "everything of session %s was removed meanwhile: it has ended", h.Session)
	}
	return err
}

func (b *Bucket) save(ctx context.Context, op, p string, of *savesOf, h api.CheckpointHeader, content io.Reader) error {
	is, err := b.refs(ctx, p, h.ID)
	if err != nil {
		return failure(op, err)
	}
	if is != nil && (is.Manifest != h.Manifest || is.Pack != h.Pack || is.Pack > 0 && is.PackHash != hex.EncodeToString(h.PackHash[:])) {
		return refuse(op, api.CodeFailed, "checkpoint %s is there with another pack", h.ID)
	}
	if err := b.present(ctx, op, p, h.Packs); err != nil {
		return err
	}
	if is == nil {
		sum, err := hex.DecodeString(string(h.ID))
		if err != nil {
			return failure(op, err)
		}
		if err := b.part(ctx, op, objectKey(p, h.ID, string(api.PartManifest)), content, h.Manifest, [32]byte(sum)); err != nil {
			return err
		}
		if h.Pack > 0 {
			if err := b.part(ctx, op, objectKey(p, h.ID, string(api.PartPack)), content, h.Pack, h.PackHash); err != nil {
				return err
			}
		}
	}
	return b.complete(ctx, op, p, of, h)
}

func validate(org api.OrgID, h api.CheckpointHeader) *api.Error {
	switch {
	case org == "":
		return api.Invalid("organization", "is empty")
	case h.Session == "":
		return api.Invalid("session", "is empty")
	case !h.ID.Valid():
		return api.Invalid("id", "%q is not a SHA-256 in hexadecimal", h.ID)
	case h.Manifest < 1 || h.Manifest > api.MaxManifestBytes:
		return api.Invalid("manifest_bytes", "%d: want 1 to %d", h.Manifest, int64(api.MaxManifestBytes))
	case h.Pack < 0 || h.Pack > api.MaxCheckpointBytes:
		return api.Invalid("pack_bytes", "%d: want 0 to %d", h.Pack, int64(api.MaxCheckpointBytes))
	case len(h.Packs) > MaxPacks:
		return api.Invalid("packs", "%d: want at most %d; write what they hold into one pack", len(h.Packs), MaxPacks)
	}
	for i, id := range h.Packs {
		if !id.Valid() || id == h.ID || slices.Contains(h.Packs[:i], id) {
			return api.Invalid(fmt.Sprintf("packs[%d]", i), "%q is not the id of another checkpoint, or there twice", id)
		}
	}
	return nil
}

// present makes sure that the packs are there, and complete.
func (b *Bucket) present(ctx context.Context, op, prefix string, packs []api.CheckpointID) error {
	for _, id := range packs {
		r, err := b.refs(ctx, prefix, id)
		if err != nil {
			return failure(op, err)
		}
		there := r != nil && r.Pack > 0
		if there {
			if there, err = b.exists(ctx, objectKey(prefix, id, string(api.PartPack))); err != nil {
				return failure(op, err)
			}
		}
		if !there {
			return refuse(op, api.CodeFailed, "the pack of checkpoint %s is gone: save one that does not need it", id)
		}
	}
	return nil
}

// part copies the next n bytes of content to an object, which appears only when they have the hash.
func (b *Bucket) part(ctx context.Context, op, key string, content io.Reader, n int64, hash [32]byte) error {
	ctx, cancel := context.WithCancel(ctx) // a writer whose context ended before Close writes nothing
	defer cancel()
	w, err := b.b.NewWriter(ctx, key, &blob.WriterOptions{ContentType: "application/octet-stream", DisableContentTypeDetection: true})
	if err != nil {
		return failure(op, err)
	}
	sum := sha256.New()
	source := &contentReader{r: content}
	done, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(source, n))
	switch {
	case source.err != nil:
		err = fmt.Errorf("read content: %w", source.err)
	case err != nil:
	case done < n:
		err = refuse(op, api.CodeInvalid, "the content ends after %d of %d bytes", done, n)
	case [32]byte(sum.Sum(nil)) != hash:
		err = refuse(op, api.CodeInvalid, "the content of %s does not have the hash that the header says", key)
	}
	if err != nil {
		cancel()
		_ = w.Close() // throws away what was written
		return failure(op, err)
	}
	if err := w.Close(); err != nil {
		return failure(op, err)
	}
	if err := b.sync(key); err != nil {
		return failure(op, err)
	}
	return nil
}

// contentReader remembers the error of a read, so that it is told from one of a write.
type contentReader struct {
	r   io.Reader
	err error
}

func (c *contentReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

// complete writes refs, or writes them anew with a later sequence: a state that comes back is as young as any other. Nothing
// of the session is collected meanwhile.
func (b *Bucket) complete(ctx context.Context, op, prefix string, of *savesOf, h api.CheckpointHeader) error {
	if err := of.take(ctx); err != nil {
		return failure(op, err)
	}
	defer of.give()
	if b.saves.hasEnded(of) {
		return refuse(op, api.CodeFailed, "session %s has ended", h.Session)
	}
	if err := b.present(ctx, op, prefix, h.Packs); err != nil { // another process may have collected
		return err
	}
	last := uint64(0)
	objects, err := b.list(ctx, prefix)
	if err != nil {
		return failure(op, err)
	}
	for id, c := range objects {
		if _, ok := c.names[refsName]; !ok {
			continue
		}
		r, err := b.refs(ctx, prefix, id)
		if err != nil {
			return failure(op, err)
		}
		if r == nil {
			continue
		}
		last = max(last, r.Sequence)
	}
	r := &refs{Sequence: last + 1, Manifest: h.Manifest, Pack: h.Pack, Packs: h.Packs}
	if h.Pack > 0 {
		r.PackHash = hex.EncodeToString(h.PackHash[:])
	}
	if err := b.putRefs(ctx, prefix, h.ID, r); err != nil {
		return failure(op, err)
	}
	return nil
}

// HasCheckpoint implements hub.Vault.
func (b *Bucket) HasCheckpoint(ctx context.Context, org api.OrgID, session api.SessionID, id api.CheckpointID) (bool, error) {
	const op = "look for checkpoint"
	if !id.Valid() {
		return false, nil
	}
	p := prefix(org, session)
	r, err := b.refs(ctx, p, id)
	if err != nil {
		return false, failure(op, err)
	}
	if r == nil {
		return false, nil
	}
	needed := []string{objectKey(p, id, string(api.PartManifest))}
	if r.Pack > 0 {
		needed = append(needed, objectKey(p, id, string(api.PartPack)))
	}
	for _, other := range r.Packs {
		needed = append(needed, objectKey(p, other, string(api.PartPack)))
	}
	for _, key := range needed {
		there, err := b.exists(ctx, key)
		if err != nil {
			return false, failure(op, err)
		}
		if !there {
			return false, nil
		}
	}
	return true, nil
}

// FetchCheckpoint implements hub.Vault. A range that is not within the part is CodeInvalid.
func (b *Bucket) FetchCheckpoint(ctx context.Context, org api.OrgID, session api.SessionID, id api.CheckpointID, part api.CheckpointPart, offset, length int64, w io.Writer) error {
	const op = "fetch checkpoint"
	if part != api.PartManifest && part != api.PartPack {
		return &api.Error{Code: api.CodeInvalid, Op: op, Field: "part", Err: fmt.Errorf("%q: want manifest or pack", part)}
	}
	p := prefix(org, session)
	var r *refs
	if id.Valid() {
		var err error
		if r, err = b.refs(ctx, p, id); err != nil {
			return failure(op, err)
		}
	}
	if r == nil {
		return refuse(op, api.CodeNotFound, "there is no checkpoint %s", id)
	}
	size := r.Manifest
	if part == api.PartPack {
		size = r.Pack
	}
	switch {
	case offset < 0 || offset > size:
		return &api.Error{Code: api.CodeInvalid, Op: op, Field: "offset", Err: fmt.Errorf("%d: the %s has %d bytes", offset, part, size)}
	case length < 0 || length > size-offset:
		return &api.Error{Code: api.CodeInvalid, Op: op, Field: "length", Err: fmt.Errorf("%d from %d on: the %s has %d bytes", length, offset, part, size)}
	case length == 0:
		length = size - offset
	}
	if length == 0 {
		return nil
	}
	key := objectKey(p, id, string(part))
	o, err := b.b.NewRangeReader(ctx, key, offset, length, nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return refuse(op, api.CodeFailed, "object %s is gone though its checkpoint is complete", key)
	}
	if err != nil {
		return failure(op, err)
	}
	n, err := io.Copy(w, o)
	err = errors.Join(err, o.Close())
	if err == nil && n != length {
		err = api.Errorf(api.CodeInternal, "object %s gave %d of %d bytes: it is shorter than it was", key, n, length)
	}
	if err != nil {
		return failure(op, err)
	}
	return nil
}
