package door

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// Bounds of transfers.
const (
	chunkBytes       = 256 << 10   // of one message to a harness
	maxChunkBytes    = 1 << 20     // of one message of a harness
	transfersAtOnce  = 4           // the others wait
	transfersWaiting = 256         // further ones are refused
	transferIdle     = time.Minute // a harness that neither sends nor takes anything for so long loses its place
	maxPacks         = 16 << 10    // that one header names
)

// Save hands a checkpoint of an attached harness's session to the vault.
func (s *server) Save(stream grpc.ClientStreamingServer[harnessv1.SaveRequest, harnessv1.SaveResponse]) error {
	ctx, cancel := context.WithTimeout(stream.Context(), 10*time.Second)
	m, err := run.Bounded(ctx, stream.Recv, nil) // a late receive ends with the stream
	cancel()
	if err != nil {
		return err
	}
	id, err := s.attached(stream.Context(), m.GetHeader().GetWorkload())
	if err == nil {
		err = s.hasVault()
	}
	if err != nil {
		return err
	}
	header, err := decodeHeader(id, m.Header)
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "checkpoint of %s: %v", id, err)
	}
	err = s.transfer(stream.Context(), func(ctx context.Context) error {
		return s.d.c.Vault.SaveCheckpoint(ctx, header, &incoming{ctx: ctx, recv: stream.Recv, left: header.Manifest + header.Pack})
	})
	if err != nil {
		s.d.c.Log.Warn("checkpoint not saved", "workload", id, "checkpoint", header.ID, "err", err)
		return asStatus(err)
	}
	s.d.c.Log.Info("checkpoint saved", "workload", id, "checkpoint", header.ID, "bytes", header.Manifest+header.Pack)
	return stream.SendAndClose(&harnessv1.SaveResponse{})
}

// Fetch reads a part of a checkpoint of an attached harness's session from the vault.
func (s *server) Fetch(m *harnessv1.FetchRequest, stream grpc.ServerStreamingServer[harnessv1.FetchResponse]) error {
	id, err := s.attached(stream.Context(), m.Workload)
	if err == nil {
		err = s.hasVault()
	}
	if err != nil {
		return err
	}
	checkpoint, part := api.CheckpointID(m.Checkpoint), api.CheckpointPart(m.Part)
	if !checkpoint.Valid() || part != api.PartManifest && part != api.PartPack || m.Offset < 0 || m.Length < 0 {
		return status.Errorf(codes.InvalidArgument, "part %q of checkpoint %q from %d on, %d bytes: there is no such thing", part, checkpoint, m.Offset, m.Length)
	}
	err = s.transfer(stream.Context(), func(ctx context.Context) error {
		return s.d.c.Vault.FetchCheckpoint(ctx, id.Session, id.Source(), checkpoint, part, m.Offset, m.Length, &outgoing{ctx: ctx, send: stream.Send})
	})
	if err != nil {
		s.d.c.Log.Warn("checkpoint not fetched", "workload", id, "checkpoint", checkpoint, "part", part, "err", err)
	}
	return asStatus(err)
}

func (s *server) hasVault() error {
	if s.d.c.Vault == nil {
		return status.Error(codes.Unavailable, "this spoke has no way to a bucket")
	}
	return nil
}

// transfer waits for its turn, then runs f.
func (s *server) transfer(ctx context.Context, f func(context.Context) error) error {
	if err := s.d.transfers.enter(ctx); err != nil {
		return err
	}
	defer s.d.transfers.leave()
	return f(ctx)
}

// decodeHeader checks what a spoke can check.
func decodeHeader(id spoke.WorkloadID, m *harnessv1.CheckpointHeader) (api.CheckpointHeader, error) {
	h := api.CheckpointHeader{Session: id.Session, Source: id.Source(), ID: api.CheckpointID(m.Id), Manifest: m.ManifestBytes, Pack: m.PackBytes}
	switch {
	case !h.ID.Valid():
		return h, fmt.Errorf("%q is no id", m.Id)
	case h.Manifest <= 0 || h.Manifest > api.MaxManifestBytes:
		return h, fmt.Errorf("a manifest of %d bytes: at most %d are allowed", h.Manifest, int64(api.MaxManifestBytes))
	case h.Pack < 0 || h.Pack > api.MaxCheckpointBytes:
		return h, fmt.Errorf("a pack of %d bytes: at most %d are allowed", h.Pack, int64(api.MaxCheckpointBytes))
	case len(m.PackHash) != len(h.PackHash) && (h.Pack > 0 || len(m.PackHash) > 0):
		return h, fmt.Errorf("the hash of the pack has %d bytes", len(m.PackHash))
	case len(m.Packs) > maxPacks:
		return h, fmt.Errorf("it refers to %d packs: at most %d are allowed", len(m.Packs), maxPacks)
	}
	copy(h.PackHash[:], m.PackHash)
	for _, p := range m.Packs {
		if !api.CheckpointID(p).Valid() {
			return h, fmt.Errorf("the pack %q has no id", p)
		}
		h.Packs = append(h.Packs, api.CheckpointID(p))
	}
	return h, nil
}

// incoming reads the bytes that follow a header, as many as it says.
type incoming struct {
	ctx  context.Context
	recv func() (*harnessv1.SaveRequest, error)
	left int64
	rest []byte
}

// Read implements [io.Reader].
func (r *incoming) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		ctx, cancel := context.WithTimeoutCause(r.ctx, transferIdle, api.Errorf(api.CodeUnavailable, "the harness sent nothing for %v", transferIdle))
		m, err := run.Bounded(ctx, r.recv, nil) // a late receive ends with the stream
		cancel()
		switch {
		case errors.Is(err, io.EOF) && r.left > 0:
			return 0, api.Errorf(api.CodeInvalid, "the content ends %d bytes before the end that its header says", r.left)
		case err != nil:
			return 0, err
		case m.Header != nil || len(m.Data) == 0 || len(m.Data) > maxChunkBytes || int64(len(m.Data)) > r.left:
			return 0, api.Errorf(api.CodeInvalid, "a message with %d bytes where at most %d are due", len(m.Data), min(r.left, maxChunkBytes))
		}
		r.rest = m.Data
		r.left -= int64(len(m.Data))
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// outgoing sends what is written, in bounded messages.
type outgoing struct {
	ctx  context.Context
	send func(*harnessv1.FetchResponse) error
}

// Write implements [io.Writer].
func (w *outgoing) Write(p []byte) (int, error) {
	for n := 0; n < len(p); {
		part := p[n:min(len(p), n+chunkBytes)]
		ctx, cancel := context.WithTimeoutCause(w.ctx, transferIdle, api.Errorf(api.CodeUnavailable, "the harness took nothing for %v", transferIdle))
		_, err := run.Bounded(ctx, func() (struct{}, error) {
			return struct{}{}, w.send(&harnessv1.FetchResponse{Data: part}) // encoded before it waits, so that p may be used again
		}, nil)
		cancel()
		if err != nil {
			return n, err
		}
		n += len(part)
	}
	return len(p), nil
}

// statusOf says which status carries a code to a harness. A code that is not here is an internal one.
var statusOf = map[api.Code]codes.Code{
	api.CodeInvalid: codes.InvalidArgument, api.CodeNotFound: codes.NotFound, api.CodeDenied: codes.PermissionDenied, api.CodeLimit: codes.ResourceExhausted,
	api.CodeUnavailable: codes.Unavailable, api.CodeFailed: codes.FailedPrecondition, api.CodeUnsupported: codes.Unimplemented,
	api.CodeExists: codes.AlreadyExists, api.CodeConflict: codes.Aborted, api.CodeUnauthenticated: codes.Unauthenticated,
}

// asStatus renders an error of the vault or the messenger. One that is a status already stays as it is.
func asStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, is := status.FromError(err); is {
		return err
	}
	if code, known := statusOf[api.CodeOf(err)]; known {
		return status.Error(code, err.Error())
	}
	if st := status.FromContextError(err); st.Code() != codes.Unknown {
		return st.Err()
	}
	return status.Error(codes.Internal, err.Error())
}
