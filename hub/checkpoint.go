package hub

import (
	"context"
	"io"
	"time"

	"github.com/nave-dev/nave/api"
)

// transfersPerLink is how many checkpoints move over one link at a time.
const transfersPerLink = 8

// transferWait is how long a transfer waits for a place, and for the owner's word that the session is assigned there.
const transferWait = 10 * time.Second

// SaveCheckpoint puts a checkpoint into the bucket, if its session is assigned to the spoke's cluster at the epoch that the
// header names. It ends with the link. CodeLimit when the header is beyond the bounds of a checkpoint, or when
// transfersPerLink transfers are under way and none of them ends soon.
func (a *Attachment) SaveCheckpoint(ctx context.Context, header api.CheckpointHeader, content io.Reader) error {
	if err := checkHeader(header); err != nil {
		return err
	}
	return a.transfer(ctx, "save", header.Session, header.Source, func(ctx context.Context, org api.OrgID, moved *int64) error {
		return a.h.cfg.Vault.SaveCheckpoint(ctx, org, header, &countedReader{ctx, content, moved})
	})
}

func checkHeader(c api.CheckpointHeader) error {
	if !c.ID.Valid() {
		return api.Invalid("id", "%.80q is not the id of a checkpoint", c.ID)
	}
	if c.Manifest <= 0 || c.Pack < 0 {
		return api.Invalid("manifest", "%d bytes of manifest and %d of pack: a checkpoint has a manifest", c.Manifest, c.Pack)
	}
	if c.Manifest > api.MaxManifestBytes {
		return &api.Error{Code: api.CodeLimit, Field: "manifest", Err: api.Errorf(api.CodeLimit, "%d bytes: at most %d are allowed", c.Manifest, api.MaxManifestBytes)}
	}
	if c.Pack > api.MaxCheckpointBytes {
		return &api.Error{Code: api.CodeLimit, Field: "pack", Err: api.Errorf(api.CodeLimit, "%d bytes: at most %d are allowed", c.Pack, int64(api.MaxCheckpointBytes))}
	}
	for _, p := range c.Packs {
		if !p.Valid() {
			return api.Invalid("packs", "%.80q is not the id of a checkpoint", p)
		}
	}
	return nil
}

// FetchCheckpoint reads a part of a checkpoint of a session that is assigned to the spoke's cluster at the source's epoch. It
// ends with the link. CodeLimit as for SaveCheckpoint.
func (a *Attachment) FetchCheckpoint(ctx context.Context, session api.SessionID, source api.Source, id api.CheckpointID, part api.CheckpointPart, offset, length int64, w io.Writer) error {
	if !id.Valid() {
		return api.Invalid("checkpoint", "%.80q is not the id of a checkpoint", id)
	}
	if part != api.PartManifest && part != api.PartPack {
		return api.Invalid("part", "%.20q: want %s or %s", part, api.PartManifest, api.PartPack)
	}
	if offset < 0 || length < 0 {
		return api.Invalid("offset", "%d, length %d: neither is below 0", offset, length)
	}
	return a.transfer(ctx, "fetch", session, source, func(ctx context.Context, org api.OrgID, moved *int64) error {
		return a.h.cfg.Vault.FetchCheckpoint(ctx, org, session, id, part, offset, length, &countedWriter{ctx, w, moved})
	})
}

// transfer moves a checkpoint in one direction when there is a place for it and the session is the spoke's.
func (a *Attachment) transfer(ctx context.Context, direction string, session api.SessionID, source api.Source, move func(context.Context, api.OrgID, *int64) error) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(a.ctx, func() { cancel(a.reason()) })()
	began, moved := time.Now(), int64(0)
	defer func() { a.h.metrics.transferred(direction, moved, began, err) }()

	place := time.NewTimer(transferWait)
	defer place.Stop()
	select {
	case a.transfers <- struct{}{}:
		defer func() { <-a.transfers }()
	case <-place.C:
		return api.Errorf(api.CodeLimit, "%d checkpoints move over the link, the limit: repeat later", transfersPerLink)
	case <-ctx.Done():
		return &api.Error{Code: api.CodeUnavailable, Op: direction + " checkpoint", Err: context.Cause(ctx)}
	}
	org, err := a.authorize(ctx, session, source)
	if err != nil {
		return err
	}
	if err := move(ctx, org, &moved); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return &api.Error{Code: api.CodeUnavailable, Op: direction + " checkpoint", Err: cause}
		}
		return err
	}
	return nil
}

// authorize returns the organization of a session that is assigned to the spoke's cluster at the source's epoch.
func (a *Attachment) authorize(ctx context.Context, session api.SessionID, source api.Source) (api.OrgID, error) {
	shard, err := session.Shard()
	if err != nil {
		return "", api.Invalid("session", "%v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, transferWait)
	defer cancel()
	var org api.OrgID
	err = a.h.queryShard(ctx, shard, func(m *machine) {
		if s := m.sessions[session]; s != nil && source.Attempt > 0 && s.Assignment != nil && s.Assignment.Cluster == a.cluster && s.Assignment.Epoch == source.Epoch {
			org = s.Org
		}
	})
	if err == nil && org == "" {
		a.h.metrics.stale.Inc()
		err = api.Errorf(api.CodeDenied, "session %s is not assigned to this cluster at epoch %s", session, source.Epoch)
	}
	return org, err
}

// countedReader counts, and ends with its context.
type countedReader struct {
	ctx context.Context
	r   io.Reader
	n   *int64
}

func (c *countedReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	n, err := c.r.Read(p)
	*c.n += int64(n)
	return n, err
}

// countedWriter counts, and ends with its context.
type countedWriter struct {
	ctx context.Context
	w   io.Writer
	n   *int64
}

func (c *countedWriter) Write(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	n, err := c.w.Write(p)
	*c.n += int64(n)
	return n, err
}

// noVault is the vault of a hub that has none.
type noVault struct{}

var errNoVault = api.Errorf(api.CodeUnsupported, "this hub has no place for checkpoints")

func (noVault) SaveCheckpoint(context.Context, api.OrgID, api.CheckpointHeader, io.Reader) error {
	return errNoVault
}

func (noVault) HasCheckpoint(context.Context, api.OrgID, api.SessionID, api.CheckpointID) (bool, error) {
	return false, nil
}

func (noVault) FetchCheckpoint(context.Context, api.OrgID, api.SessionID, api.CheckpointID, api.CheckpointPart, int64, int64, io.Writer) error {
	return errNoVault
}

func (noVault) CollectCheckpoints(context.Context, api.OrgID, api.SessionID, []api.CheckpointID) (int, error) {
	return 0, nil
}
