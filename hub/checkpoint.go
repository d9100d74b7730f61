package hub

import (
	"context"
	"io"

	"github.com/nave-dev/nave/api"
)

// SaveCheckpoint puts a checkpoint into the bucket, if its session is assigned to the spoke's cluster at the epoch that the
// header names.
func (a *Attachment) SaveCheckpoint(ctx context.Context, header api.CheckpointHeader, content io.Reader) error {
	return api.Errorf(api.CodeUnsupported, "not built yet")
}

// FetchCheckpoint reads a part of a checkpoint of a session that is assigned to the spoke's cluster at the source's epoch.
func (a *Attachment) FetchCheckpoint(ctx context.Context, session api.SessionID, source api.Source, id api.CheckpointID, part api.CheckpointPart, offset, length int64, w io.Writer) error {
	return api.Errorf(api.CodeUnsupported, "not built yet")
}
