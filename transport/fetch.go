package transport

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/transport/linkv1"
)

// FetchCheckpoint writes length bytes of a part of a checkpoint to w, from offset on; length 0 means to the end. After an
// error w has got a beginning of them. CodeUnavailable as of [Link.SaveCheckpoint].
func (l *Link) FetchCheckpoint(ctx context.Context, session api.SessionID, source api.Source, id api.CheckpointID, part api.CheckpointPart, offset, length int64, w io.Writer) error {
	return l.transfer(ctx, func(ctx context.Context, bulk linkv1.LinkClient, moved func()) error {
		stream, err := bulk.Fetch(ctx, &linkv1.FetchRequest{Session: string(session), Source: sourceTo(source), Checkpoint: string(id),
			Part: string(part), Offset: offset, Length: length})
		if err != nil {
			return err
		}
		var got int64
		for {
			m, err := stream.Recv()
			switch {
			case errors.Is(err, io.EOF) && length > 0 && got < length:
				return api.Errorf(api.CodeInternal, "the hub sent %d bytes of %s %s, asked for %d", got, part, id, length)
			case errors.Is(err, io.EOF):
				return nil
			case err != nil:
				return err
			}
			if got += int64(len(m.GetData())); length > 0 && got > length {
				return api.Errorf(api.CodeInternal, "the hub sent more of %s %s than the %d bytes asked for", part, id, length)
			}
			if _, err := w.Write(m.GetData()); err != nil {
				return contentError{err}
			}
			moved()
		}
	})
}

// Fetch implements linkv1.LinkServer.
func (s *Server) Fetch(r *linkv1.FetchRequest, stream grpc.ServerStreamingServer[linkv1.FetchResponse]) error {
	err := s.transfer(stream.Context(), func(ctx context.Context, att Attachment) error {
		session, id, part := api.SessionID(r.GetSession()), api.CheckpointID(r.GetCheckpoint()), api.CheckpointPart(r.GetPart())
		switch {
		case session == "":
			return api.Invalid("session", "is empty")
		case !id.Valid():
			return api.Invalid("checkpoint", "%.80q is not the id of a checkpoint", id)
		case part != api.PartManifest && part != api.PartPack:
			return api.Invalid("part", "%.40q: want %q or %q", part, api.PartManifest, api.PartPack)
		case r.GetOffset() < 0 || r.GetLength() < 0:
			return api.Invalid("offset", "offset %d and length %d must not be negative", r.GetOffset(), r.GetLength())
		}
		w := &sent{ctx: ctx, send: stream.Send}
		return att.FetchCheckpoint(ctx, session, sourceFrom(r.GetSource()), id, part, r.GetOffset(), r.GetLength(), w)
	})
	if err != nil {
		return callStatus(err)
	}
	return nil
}

// sent writes bytes to a stream.
type sent struct {
	ctx  context.Context
	send func(*linkv1.FetchResponse) error
}

// Write implements io.Writer. It waits for the spoke no longer than a transfer may stand still.
func (s *sent) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		m := &linkv1.FetchResponse{Data: append([]byte(nil), b[:min(len(b), chunkBytes)]...)}
		if err := s.message(m); err != nil {
			return n, err
		}
		n += len(m.Data)
		b = b[len(m.Data):]
	}
	return n, nil
}

func (s *sent) message(m *linkv1.FetchResponse) error {
	ctx, cancel := context.WithTimeoutCause(s.ctx, standstill, api.Errorf(api.CodeUnavailable, "the spoke took nothing for %v", standstill))
	defer cancel()
	_, err := run.Bounded(ctx, func() (struct{}, error) { return struct{}{}, s.send(m) }, nil)
	return err
}
